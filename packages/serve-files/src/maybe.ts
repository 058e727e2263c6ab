/**
 * Answers that are there at once as a rule. A file that is in memory is opened and looked at within microseconds; a
 * promise for each step would cost as much again. So steps answer a value or a promise, and a sequence of steps is a
 * generator that yields promises only.
 */

/** The value, or a promise of it. */
export type Maybe<T> = T | Promise<T>;

/** A sequence of steps: it yields what it has to wait for, and is resumed with the outcome. */
export type Steps<T> = Generator<Promise<unknown>, T, unknown>;

const isPromise = <T>(value: Maybe<T>): value is Promise<T> => value instanceof Promise;

/** Within a sequence: `yield* settled(step)` is the step's value, and waits only if it has to. */
export function* settled<T>(value: Maybe<T>): Steps<T> {
  return isPromise(value) ? ((yield value) as T) : value;
}

/** Runs a sequence: to its end at once where nothing has to be waited for. */
export function run<T>(steps: Steps<T>): Maybe<T> {
  const first = steps.next();
  return first.done === true ? first.value : goOn(steps, first.value);
}

async function goOn<T>(steps: Steps<T>, waiting: Promise<unknown>): Promise<T> {
  let pending = waiting;
  for (;;) {
    let next: IteratorResult<Promise<unknown>, T>;
    try {
      const value = await pending;
      next = steps.next(value);
    } catch (error) {
      next = steps.throw(error);
    }
    if (next.done === true) return next.value;
    pending = next.value;
  }
}

/** What to do with the value, whenever it is there. */
export function then<T, R>(value: Maybe<T>, next: (value: T) => Maybe<R>): Maybe<R> {
  return isPromise(value) ? value.then(next) : next(value);
}
