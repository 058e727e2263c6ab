/** A file as a Buffer, streams of views, and buffers shared between processes. */

export type { MapAccess, MapGuard, MapOptions } from './map-options.js';
export { type MapAdvice, MappedFile, mapFile, mapFileSync, type Residency } from './mapped-file.js';
export type { ByteRange } from './options.js';
export type { SharedBufferHandle } from './pool-memory.js';
export { createMmapReadStream, type MmapReadStream, type MmapReadStreamOptions } from './read-stream.js';
export { type MappingStats, mappingStats } from './region.js';
export { SharedBuffer, SharedBufferPool, type SharedBufferPoolOptions } from './shared-buffer-pool.js';
