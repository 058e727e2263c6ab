/**
 * For this project's own packages: the engine that copies from one open file into another, for a pipe between streams of
 * other code. Not covered by semantic versioning.
 */
export { CopyEngine, type CopyEngineOptions } from './copy-engine.js';
