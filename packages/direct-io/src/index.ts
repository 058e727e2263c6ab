/** Files past the page cache. */
export type { Alignment } from './alignment.js';
export { DirectFile, openDirect } from './direct-file.js';
export { dontNeed } from './dont-need.js';
export type { Datasync, OpenDirectOptions } from './options.js';
export { createDirectReadStream, type DirectReadStream, type DirectReadStreamOptions } from './read-stream.js';
export type { Fallback } from './stream-options.js';
export { createDirectWriteStream, type DirectWriteStream, type DirectWriteStreamOptions } from './write-stream.js';
