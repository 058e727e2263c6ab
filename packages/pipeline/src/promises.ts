/** `stream/promises`, with pairs that the kernel can move. */
export { pipelinePromise as pipeline } from './pipeline.js';
