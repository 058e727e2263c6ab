/** What the thread that holds a lease and the thread that answers its breaks share. */
import type { MessagePort } from 'node:worker_threads';
import { constants, syscalls } from '@zerocopy/core-syscalls';
import type { KoffiLocation } from '@zerocopy/core-syscalls/native';

const { EAGAIN, EBADF, F_SETLEASE, F_UNLCK } = constants;

/** A real-time signal, so that breaks queue; sent to the lease thread alone, and blocked there (kernel-rules: lease-order). */
export const LEASE_SIGNAL = 44;

/**
 * The states of a lease, in a word of shared memory:
 *
 *   held ──► breaking ──► released
 *     └──────── locked ──────┘      (one side calls fcntl, or copies the mapping; the other touches neither meanwhile)
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
/** Counts what the lease has been told to protect: a mapping of an earlier count may be gone. */
export const GENERATION = 3;
export const WORDS = 4;

/** What the thread is started with. */
export interface ThreadData {
  readonly port: MessagePort;
  readonly koffi: KoffiLocation;
}

/** Whole pages. */
export interface MappedRange {
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
  readonly mapping?: MappedRange | undefined;
  /** Of the mapping. */
  readonly generation: number;
}

export type ToThread = Watch | { readonly kind: 'forget'; readonly id: number } | { readonly kind: 'stop' };

export type FromThread =
  | { readonly kind: 'ready'; readonly threadId: number }
  | { readonly kind: 'break'; readonly id: number; readonly downgradeTo: 'read' | 'none'; readonly deadline: number }
  | { readonly kind: 'released'; readonly id: number };

/**
 * Runs `action` while the other side does not use the lease's descriptor, and leaves the lease in the state it returns;
 * it is given the one it was in. Returns false, and does nothing, if the lease has been released.
 */
export function exclusively(words: Int32Array, action: (state: number) => number): boolean {
  for (;;) {
    const state = Atomics.load(words, STATE);
    if (state === RELEASED) return false;
    // The other side holds the lock for the time of one fcntl, or of the copy.
    if (state === LOCKED || Atomics.compareExchange(words, STATE, state, LOCKED) !== state) continue;
    let next = state;
    try {
      next = action(state);
    } finally {
      Atomics.store(words, STATE, next);
    }
    return true;
  }
}

/** HELD, BREAKING or RELEASED: the side that has it locked will be through in the time of one fcntl, or of the copy. */
export function stateOf(words: Int32Array): number {
  let state = Atomics.load(words, STATE);
  while (state === LOCKED) state = Atomics.load(words, STATE);
  return state;
}

/** How often it is tried to give a lease up: one that stays makes others wait for as long as its file is open. */
const ATTEMPTS = 32;

/** @returns 0, or a negative errno: the lease is still there. */
function unlock(fd: number): number {
  let result = 0;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    result = syscalls.fcntl(fd, F_SETLEASE, F_UNLCK);
    if (result >= 0 || result === -EBADF) return 0; // EBADF: its file is closed, and the lease has gone with it
  }
  // The kernel had taken it. Nothing else can be asked: F_GETLEASE says F_UNLCK during a break, too
  // (kernel-rules: lease-break).
  return result === -EAGAIN ? 0 : result;
}

/**
 * Gives the lease up.
 * @returns 0; undefined if it had been given up before; a negative errno if it lasts until its file is closed.
 */
export function giveUp(words: Int32Array, fd: number): number | undefined {
  let result: number | undefined;
  exclusively(words, () => {
    result = unlock(fd);
    return RELEASED;
  });
  return result;
}
