/** Waiting for something to come true. */

/** Milliseconds after which {@link until} gives up. */
const PATIENCE = 20_000;

/** Asks every 2 ms, for at most 20 s. */
export async function until(condition: () => boolean | Promise<boolean>, what = 'the condition'): Promise<void> {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const met = condition();
    if (typeof met === 'boolean' ? met : await met) return;
    if (Date.now() > deadline) throw new Error(`${what} did not come true within ${PATIENCE / 1000} s`);
    await pause(2);
  }
}

export const pause = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
  });

/** One turn of the event loop. */
export const turn = (): Promise<void> =>
  new Promise((resolve) => {
    setImmediate(resolve);
  });

/** The same promise; rejects if it is not settled within so many milliseconds. */
export function inTime<T>(promise: Promise<T>, milliseconds: number, what = 'it'): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = (): void => reject(new Error(`${what} does not end within ${milliseconds / 1000} s`));
    const timer = setTimeout(late, milliseconds);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
