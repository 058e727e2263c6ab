/**
 * The calls of this package never hide EINTR: a caller that wants a call made again says so, here
 * (kernel-rules: eintr).
 */
import { constants } from '../constants.js';

const { EINTR } = constants;

/**
 * Makes a call again for as long as a signal interrupts it. Not for close(2), which has closed then.
 * @returns what the call returns, and never -EINTR.
 */
export function uninterrupted(call: () => number): number {
  for (;;) {
    const result = call();
    if (result !== -EINTR) return result;
  }
}

/** {@link uninterrupted} for an asynchronous call. */
export function uninterruptedAsync(
  call: (callback: (result: number) => void) => void,
  callback: (result: number) => void,
): void {
  call((result) => (result === -EINTR ? uninterruptedAsync(call, callback) : callback(result)));
}

/**
 * Makes a call until it has moved `length` bytes: `call` is told how many are done.
 * @returns `length`; less if nothing more moves; or a negative errno.
 */
export function untilMoved(length: number, call: (done: number) => number): number {
  let done = 0;
  while (done < length) {
    const result = uninterrupted(() => call(done));
    if (result < 0) return result;
    if (result === 0) break;
    done += result;
  }
  return done;
}
