/**
 * Readable.prototype.pipe, wrapped once for a thread: Node's own pipe is made first, always; then whoever observes looks at
 * the pair. All of Node's ways from one stream into another pass here: `pipe`, `pipeline` in all its forms, subclasses.
 *
 * Copies of this package share one wrap: the shape of what is registered must not change without a new number.
 */
import { Readable } from 'node:stream';

type Pipe = typeof Readable.prototype.pipe;

/** Looks at a pair that Node has just piped. @returns true if it has dealt with it: nobody else is asked. */
export type PipeObserver = (source: Readable, destination: NodeJS.WritableStream) => boolean;

interface Hook {
  /** What was there before, and is there again when nobody observes any longer. */
  readonly pipe: Pipe;
  readonly observers: PipeObserver[];
}

const kHook: unique symbol = Symbol.for('zerocopy.pipeHook.1');

type Hooked = { [kHook]?: Hook };

function installed(): Hook {
  const prototype = Readable.prototype as Readable & Hooked;
  const present = Object.hasOwn(prototype, kHook) ? prototype[kHook] : undefined;
  if (present !== undefined) return present;
  const hook: Hook = { pipe: prototype.pipe, observers: [] };
  const { pipe: node, observers } = hook;
  const pipe = function pipe(this: Readable, destination: NodeJS.WritableStream): unknown {
    // biome-ignore lint/complexity/noArguments: whatever it is called with is passed on, and its length stays Node's.
    const result = Reflect.apply(node, this, arguments);
    for (const observe of observers) if (observe(this, destination)) break;
    return result;
  };
  for (const name of ['length', 'name'] as const) {
    Object.defineProperty(pipe, name, { configurable: true, value: node[name] });
  }
  const descriptor = Object.getOwnPropertyDescriptor(prototype, 'pipe');
  Object.defineProperty(prototype, 'pipe', { ...descriptor, value: pipe });
  Object.defineProperty(prototype, kHook, { configurable: true, value: hook });
  return hook;
}

/** Adds an observer, behind those that are there. @returns what takes it away again; idempotent. */
export function observePipes(observer: PipeObserver): () => void {
  const { observers } = installed();
  observers.push(observer);
  return () => {
    const index = observers.indexOf(observer);
    if (index >= 0) observers.splice(index, 1);
  };
}

/** Whether pipes are observed in this thread, by whichever copy. */
export function isObserved(): boolean {
  const hook = (Readable.prototype as Readable & Hooked)[kHook];
  return hook !== undefined && hook.observers.length > 0;
}
