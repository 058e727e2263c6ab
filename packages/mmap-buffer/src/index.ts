/** A file as a Buffer, streams of views, and buffers shared between processes. */

export type { MapAdvice } from './map-advice.js';
export { mapFile, mapFileSync } from './map-file.js';
export type { MapAccess, MapGuard, MapOptions } from './map-options.js';
export { MappedFile, type Residency } from './mapped-file.js';
export type { ByteRange } from './options.js';
export type { SharedBufferHandle } from './pool-memory.js';
export { createMmapReadStream, type MmapReadStream, type MmapReadStreamOptions } from './read-stream.js';
export { type MappingStats, mappingStats } from './region.js';
export { SharedBuffer, SharedBufferPool, type SharedBufferPoolOptions } from './shared-buffer-pool.js';
