/** What the thread that holds a lease and the thread that answers its breaks share. */
import { constants, syscalls } from '@zerocopy/core-syscalls';

const { F_SETLEASE, F_UNLCK } = constants;

/** A real-time signal, so that breaks queue; sent to the lease thread alone, and blocked there (rule 36). */
export const LEASE_SIGNAL = 44;

/**
 * The states of a lease, in a word of shared memory:
 *
 *   held ──► breaking ──► released
 *     └──────── locked ──────┘      (somebody calls fcntl; nobody else touches the descriptor meanwhile)
 */
export const HELD = 0;
export const BREAKING = 1;
export const RELEASED = 2;
const LOCKED = 3;

/** Words of the shared memory of a lease. */
export const STATE = 0;
/** How many listen for 'break'. */
export const LISTENERS = 1;
/** 1: the mapping under the lease has been made independent of the file. */
export const DETACHED = 2;
export const WORDS = 3;

/** Whole pages. */
export interface Mapping {
  readonly address: number;
  /** Bytes. */
  readonly length: number;
}

export interface Watch {
  readonly kind: 'watch';
  readonly id: number;
  readonly fd: number;
  /** F_RDLCK or F_WRLCK. */
  readonly type: number;
  readonly words: Int32Array;
  readonly autoRelease: boolean;
  /** Milliseconds. */
  readonly releaseBefore: number;
  /** A mapping of the file, of whole pages, to be made independent of it before the lease is given up. */
  readonly mapping?: Mapping | undefined;
}

export type ToThread = Watch | { readonly kind: 'forget'; readonly id: number } | { readonly kind: 'stop' };

export type FromThread =
  | { readonly kind: 'ready'; readonly threadId: number }
  | { readonly kind: 'break'; readonly id: number; readonly downgradeTo: 'read' | 'none'; readonly deadline: number }
  | { readonly kind: 'released'; readonly id: number };

/**
 * Runs `action` while nobody else uses the lease's descriptor, and leaves the lease in the state it returns.
 * Returns false, and does nothing, if the lease has been released.
 */
export function exclusively(words: Int32Array, action: () => number): boolean {
  for (;;) {
    const state = Atomics.load(words, STATE);
    if (state === RELEASED) return false;
    // The other side holds the lock for the time of one fcntl.
    if (state === LOCKED || Atomics.compareExchange(words, STATE, state, LOCKED) !== state) continue;
    let next = state;
    try {
      next = action();
    } finally {
      Atomics.store(words, STATE, next);
    }
    return true;
  }
}

/** HELD, BREAKING or RELEASED: whoever has it locked will be through in the time of one fcntl. */
export function stateOf(words: Int32Array): number {
  let state = Atomics.load(words, STATE);
  while (state === LOCKED) state = Atomics.load(words, STATE);
  return state;
}

/** Gives the lease up. Returns false if it had been given up before. */
export function giveUp(words: Int32Array, fd: number): boolean {
  return exclusively(words, () => {
    syscalls.fcntl(fd, F_SETLEASE, F_UNLCK);
    return RELEASED;
  });
}
