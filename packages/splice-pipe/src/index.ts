/** Sockets, files and child processes joined inside the kernel. */

export type { SpliceDestination, SpliceSource } from './endpoint.js';
export { type PipePoolStats, pipePoolStats } from './pipe-pool.js';
export { ProxyError, type ProxyOptions, type ProxyResult, proxy } from './proxy.js';
export { type ConnectionAddresses, proxyHeader } from './proxy-protocol.js';
export { createSpliceReadStream, SpliceReadStream } from './read-stream.js';
export { type ReceiveFileOptions, type ReceiveSource, receiveFile } from './receive-file.js';
export { type SpliceOptions, splice } from './splice.js';
export type { SpliceStreamEvents } from './stream-events.js';
export { type TeeBranchResult, TeeError, type TeeOptions, type TeeResult, tee } from './tee.js';
export { createSpliceWriteStream, SpliceWriteStream, type SpliceWriteStreamOptions } from './write-stream.js';
