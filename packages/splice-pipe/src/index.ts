/** Sockets, files and child processes joined inside the kernel. */

export type { SpliceDestination, SpliceSource } from './endpoint.js';
export { type PipePoolStats, pipePoolStats } from './pipe-pool.js';
export { ProxyError, type ProxyOptions, type ProxyResult, proxy } from './proxy.js';
export { type SpliceOptions, splice } from './splice.js';
