/**
 * One listener of ours for each event of a stream, however many transfers share the stream: fifteen transfers queued on one
 * socket are no leak, and Node's MaxListenersExceededWarning must not say that they are.
 */
import type { EventEmitter } from 'node:events';

/** The events that transfers wait for. */
export type SharedEvent = 'close' | 'drain' | 'error' | 'finish' | 'socket';

type Callback = (...details: never[]) => void;

class SharedListener {
  /** Nearly always there is only one. */
  #first: Callback | undefined;
  #others: Set<Callback> | undefined;
  readonly listener: (...details: unknown[]) => void;

  constructor() {
    this.listener = (...details) => {
      for (const callback of this.#all()) {
        if (this.#has(callback)) Reflect.apply(callback, undefined, details); // not taken off by one before it
      }
    };
  }

  get empty(): boolean {
    return this.#first === undefined && (this.#others === undefined || this.#others.size === 0);
  }

  add(callback: Callback): void {
    if (this.#first === undefined && this.empty) this.#first = callback;
    else {
      this.#others ??= new Set();
      this.#others.add(callback);
    }
  }

  remove(callback: Callback): void {
    if (this.#first === callback) this.#first = undefined;
    else this.#others?.delete(callback);
  }

  #has(callback: Callback): boolean {
    return this.#first === callback || this.#others?.has(callback) === true;
  }

  #all(): Callback[] {
    const others = this.#others === undefined ? [] : [...this.#others];
    return this.#first === undefined ? others : [this.#first, ...others];
  }
}

// Registered, so that two copies of this package share their listeners too.
const kListeners: unique symbol = Symbol.for('zerocopy.listeners.1');

type Listened = EventEmitter & { [kListeners]?: Partial<Record<SharedEvent, SharedListener>> };

/** `emitter.on(event, callback)`, by a listener that is shared. */
export function addSharedListener(emitter: EventEmitter, event: SharedEvent, callback: Callback): void {
  const listened = emitter as Listened;
  if (listened[kListeners] === undefined) {
    Object.defineProperty(listened, kListeners, { value: {}, configurable: true, writable: true });
  }
  const all = listened[kListeners] as NonNullable<Listened[typeof kListeners]>;
  let shared = all[event];
  if (shared === undefined) {
    shared = new SharedListener();
    all[event] = shared;
  }
  if (shared.empty) emitter.on(event, shared.listener);
  shared.add(callback);
}

/** `emitter.off(event, callback)`. Idempotent. */
export function removeSharedListener(emitter: EventEmitter, event: SharedEvent, callback: Callback): void {
  const shared = (emitter as Listened)[kListeners]?.[event];
  if (shared === undefined || shared.empty) return;
  shared.remove(callback);
  if (shared.empty) emitter.off(event, shared.listener);
}
