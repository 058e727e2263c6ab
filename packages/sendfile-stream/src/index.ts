/** A file to a socket or an HTTP message, sent by the kernel. */

export type { LeaseOptions, LeaseProvider, TransferLease } from './lease.js';
export { createSendfileStream, SendfileReadStream, type SendfileStreamOptions } from './read-stream.js';
export {
  type FileSource,
  type SendFileDestination,
  type SendFileOptions,
  sendFile,
} from './send-file.js';
