/** Static files over HTTP: confined by the kernel, sent by the kernel, in any framework. */

export type { CacheLimits } from '@zerocopy/sendfile-stream';
export type { Types } from './content-type.js';
export { type FastifyFilesOptions, fastifyFiles } from './fastify-files.js';
export { type FetchHandler, fetchFiles } from './fetch-files.js';
export type { FileStat } from './file-status.js';
export { FRAMING_FIELDS } from './header-fields.js';
export { honoFiles } from './hono-files.js';
export { koaFiles } from './koa-files.js';
export type { OpenedFile } from './opened-file.js';
export type { HeaderFields, SentInfo, ServeFilesOptions } from './options.js';
export type { FilePart, Plan, PlanHeaders, PlanPart } from './plan.js';
export { type PlanRequest, plan } from './plan-request.js';
export type { Encoding } from './precompressed.js';
export { type Rate, RateLimit } from './rate.js';
export { OpenError, type SymlinkPolicy } from './root.js';
export { sendFileResponse } from './send-file-response.js';
export type { NodeRequest, NodeResponse } from './send-plan.js';
export { type FileHandler, type Next, serveFiles } from './serve-files.js';
