/**
 * Timers of the packages that end soon. The packages capture setTimeout when they are loaded, so that this has to be loaded
 * before them; nothing is hurried before {@link hurryTimers} is called.
 */
import { calledByPackage } from './caller.js';

/** Milliseconds that the first thread outlives its last lease. Each further one stays twice as long: not here. */
const LINGER = 100;

let hurrying = false;
const native = globalThis.setTimeout;
const hurried = (callback: () => void, delay?: number, ...args: []): NodeJS.Timeout =>
  native(callback, hurrying && calledByPackage() ? Math.min(delay ?? 0, LINGER) : delay, ...args);
globalThis.setTimeout = Object.defineProperties(hurried, Object.getOwnPropertyDescriptors(native)) as typeof native;

/** From now on no timer of the packages takes longer than a lease's thread is to live here. */
export function hurryTimers(): void {
  hurrying = true;
}
