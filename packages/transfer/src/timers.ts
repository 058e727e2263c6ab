/**
 * The timers of this process, captured when this module is loaded. A transfer goes on where a test mocks them later
 * (node:test, sinon, vitest, Jest): the kernel does not wait for the test's clock.
 */
const real = {
  setTimeout: globalThis.setTimeout,
  clearTimeout: globalThis.clearTimeout,
  setInterval: globalThis.setInterval,
  clearInterval: globalThis.clearInterval,
  setImmediate: globalThis.setImmediate,
  nextTick: process.nextTick,
};

/** Node's `setTimeout`, as it was when this module was loaded. */
export const setTimeout: typeof globalThis.setTimeout = real.setTimeout;
/** Node's `clearTimeout`, as it was when this module was loaded. */
export const clearTimeout: typeof globalThis.clearTimeout = real.clearTimeout;
/** Node's `setInterval`, as it was when this module was loaded. */
export const setInterval: typeof globalThis.setInterval = real.setInterval;
/** Node's `clearInterval`, as it was when this module was loaded. */
export const clearInterval: typeof globalThis.clearInterval = real.clearInterval;
/** Node's `setImmediate`, as it was when this module was loaded. */
export const setImmediate: typeof globalThis.setImmediate = real.setImmediate;
/** Node's `process.nextTick`, as it was when this module was loaded. */
export const nextTick: typeof process.nextTick = real.nextTick;
