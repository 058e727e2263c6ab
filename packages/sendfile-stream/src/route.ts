/**
 * For this project's own packages: the route of a file beneath a pipe, to be attached to any fs.ReadStream. Not covered by
 * semantic versioning.
 */

export { isOpenedAtOnce } from './cached-open.js';
export { LENT_MAX, lentBuffers } from './copy-buffers.js';
export { resolveDestination } from './destination.js';
export { type FileReader, FileRoute, type FileRouteOptions } from './file-route.js';
export { DEFAULT_LIMITS } from './kept-files.js';
export { type CacheLimits, type KeptFile, OpenFileCache, validateCacheLimits } from './open-file-cache.js';
export { sharedFs } from './shared-open.js';
export { readSmall, SMALL_FILE_SIZE, type SmallRead } from './small-file.js';
