/**
 * The timers of this process, captured when this module is loaded. A test that mocks them later (node:test, sinon, vitest,
 * Jest) must not stop a transfer: its loop turns and time-outs are the kernel's business, not the test's.
 */
const real = {
  setTimeout: globalThis.setTimeout,
  clearTimeout: globalThis.clearTimeout,
  setInterval: globalThis.setInterval,
  clearInterval: globalThis.clearInterval,
  setImmediate: globalThis.setImmediate,
  clearImmediate: globalThis.clearImmediate,
  nextTick: process.nextTick,
};

export const setTimeout: typeof globalThis.setTimeout = real.setTimeout;
export const clearTimeout: typeof globalThis.clearTimeout = real.clearTimeout;
export const setInterval: typeof globalThis.setInterval = real.setInterval;
export const clearInterval: typeof globalThis.clearInterval = real.clearInterval;
export const setImmediate: typeof globalThis.setImmediate = real.setImmediate;
export const clearImmediate: typeof globalThis.clearImmediate = real.clearImmediate;
export const nextTick: typeof process.nextTick = real.nextTick;
