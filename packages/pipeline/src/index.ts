/** Any two ends, the fastest way. */
export { type CopyDestination, type CopyOptions, type CopySource, copy } from './copy.js';
export { type InstallOptions, install } from './install.js';
export type { DestinationKind, PipeKind, SourceKind } from './pipe-kind.js';
export { pipeline } from './pipeline.js';
export type { PipeFilter } from './plan.js';
export { type PipeStats, stats } from './stats.js';
