/** A file to a socket or an HTTP message, sent by the kernel. */

export { keepFilesOpen } from './kept-files.js';
export type { LeaseOptions, LeaseProvider, TransferLease } from './lease.js';
export { type FileSource, OpenFile, type OpenFileOptions } from './open-file.js';
export type { CacheLimits } from './open-file-cache.js';
export { createSendfileStream, SendfileReadStream } from './read-stream.js';
export type { SendfileStreamEvents, SendfileStreamOptions } from './read-stream-options.js';
export { type SendFileDestination, sendFile } from './send-file.js';
export type { SendFileOptions } from './send-job.js';
