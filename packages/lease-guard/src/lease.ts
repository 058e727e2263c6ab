/** File leases: fcntl(2), F_SETLEASE, since Linux 2.4. */
import { EventEmitter } from 'node:events';
import { constants as fs } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { constants, SyscallError, syscalls } from '@zerocopy/core-syscalls';
import { abortError, pathText, readOptions } from '@zerocopy/transfer';
import { feature } from './feature.js';
import { leaseThread, leaveThread } from './lease-thread.js';
import { validateLeaseArguments } from './options.js';
import {
  BREAKING,
  DETACHED,
  exclusively,
  GENERATION,
  giveUp,
  HELD,
  LEASE_SIGNAL,
  LISTENERS,
  type MappedRange,
  RELEASED,
  stateOf,
  WORDS,
} from './shared.js';

/** 'read': others may read. 'write': no other process may open the file at all. */
export type LeaseType = 'read' | 'write';

/** The options of {@link acquireLease}. */
export interface LeaseOptions {
  /** Before: the promise rejects with an AbortError. After: the lease is released. */
  signal?: AbortSignal;
  /** Default true: with no listener for 'break', the lease is given up as soon as another process wants the file. */
  autoRelease?: boolean;
  /**
   * Milliseconds before the kernel's deadline at which the lease is given up whatever its listeners do, so that the
   * kernel need not take it by force. Default 1000.
   */
  releaseBeforeMs?: number;
}

/** Another process wants the file: what a 'break' event tells. */
export interface LeaseBreak {
  /** What the other side needs: 'read' (it wants to read a file under a write lease), or 'none'. */
  readonly downgradeTo: 'read' | 'none';
  /** Milliseconds until the kernel takes the lease away (/proc/sys/fs/lease-break-time); Infinity: never. */
  readonly deadlineMs: number;
}

interface LeaseEvents {
  break: [LeaseBreak];
  /** The lease is gone, for whatever reason. */
  release: [];
}

const { EACCES, EAGAIN, EINVAL, F_GETLEASE, F_OWNER_TID, F_RDLCK, F_SETLEASE, F_SETOWN_EX, F_SETSIG } = constants;
const { F_UNLCK, F_WRLCK } = constants;
const TYPES: Readonly<Record<LeaseType, number>> = { read: F_RDLCK, write: F_WRLCK };
const STATES = { [HELD]: 'held', [BREAKING]: 'breaking', [RELEASED]: 'released' } as const;
const DEFAULT_RELEASE_BEFORE = 1000;

function explain(errno: number, type: LeaseType): string {
  switch (-errno) {
    case EACCES:
      return "the file is another user's: a lease needs its owner, or CAP_LEASE";
    case EAGAIN:
      return type === 'read'
        ? 'another process, or this one, has the file open for writing, or a writable mapping of it; try again when they have closed it'
        : 'the file is open elsewhere; a write lease needs to be alone';
    case EINVAL:
      return 'it is no regular file, or its filesystem has no leases (NFS, FUSE, older overlayfs): ask probePath()';
    default:
      return 'the lease was refused';
  }
}

function refusal(errno: number, type: LeaseType, path: string | undefined): SyscallError {
  const error = new SyscallError(errno, 'fcntl(F_SETLEASE)', { path });
  error.message += `: ${explain(errno, type)}`;
  return error;
}

/** What a lease tells the code that keeps its file and its watch. */
interface LeaseOwner {
  /** Whether the file is the lease's own, and is closed with it. */
  readonly ownsFile: boolean;
  forget(): void;
  /** Its type, or what it protects, has changed. */
  changed(type: LeaseType, mapping: MappedRange | undefined): void;
  close(): Promise<void>;
}

/** A lease on one open file. Made by {@link acquireLease}. */
export class Lease extends EventEmitter<LeaseEvents> implements AsyncDisposable {
  /** Of the open file. */
  readonly fd: number;
  #type: LeaseType;
  readonly #words: Int32Array;
  readonly #owner: LeaseOwner;
  #released: Promise<void> | undefined;
  #mapping: MappedRange | undefined;

  /** @internal */
  constructor(fd: number, type: LeaseType, words: Int32Array, owner: LeaseOwner) {
    super();
    this.fd = fd;
    this.#type = type;
    this.#words = words;
    this.#owner = owner;
    // The lease thread has to know whether there is a listener to tell.
    super.on(
      'newListener' as 'break',
      (event: unknown) => void (event === 'break' && Atomics.add(words, LISTENERS, 1)),
    );
    super.on(
      'removeListener' as 'break',
      (event: unknown) => void (event === 'break' && Atomics.sub(words, LISTENERS, 1)),
    );
  }

  /** 'read' or 'write'; after {@link downgrade} 'read'. */
  get type(): LeaseType {
    return this.#type;
  }

  /** 'held'; 'breaking' while another process waits for the file; 'released'. */
  get state(): 'held' | 'breaking' | 'released' {
    return STATES[stateOf(this.#words) as keyof typeof STATES];
  }

  /**
   * Gives the lease up; a process that waits for the file goes on before this resolves. Idempotent.
   * @throws {SyscallError} if the kernel does not take it back: then it lasts until the descriptor is closed.
   */
  release(): Promise<void> {
    if (this.#released === undefined) {
      const result = giveUp(this.#words, this.fd) ?? 0;
      this.gone();
      if (result < 0 && !this.#owner.ownsFile) {
        this.#released = Promise.reject(new SyscallError(result, 'fcntl(F_SETLEASE)'));
      }
    }
    return this.#released as unknown as Promise<void>;
  }

  /**
   * From a write lease to a read lease: answers a break with `downgradeTo: 'read'`.
   * @throws {SyscallError} EAGAIN if it was broken by a writer. An Error if it has been released.
   */
  downgrade(type: 'read' = 'read'): void {
    if (type !== 'read') throw new TypeError(`a lease can only be downgraded to 'read'; got '${String(type)}'`);
    let result = 0;
    const done = exclusively(this.#words, (state) => {
      // Unlocked, as the kernel sees it: broken by a writer. Or its descriptor was closed, and what has the number now is
      // to get no lease (kernel-rules: fd-reuse).
      const gone = syscalls.fcntl(this.fd, F_GETLEASE) === F_UNLCK;
      result = gone ? -EAGAIN : syscalls.fcntl(this.fd, F_SETLEASE, F_RDLCK);
      if (result >= 0) return HELD;
      return result === -EAGAIN ? BREAKING : state;
    });
    if (!done) throw new Error('the lease has been released');
    if (result < 0) throw refusal(result, 'read', undefined);
    this.#type = 'read';
    this.#owner.changed('read', this.#mapping);
  }

  /** {@link release}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  /** @internal The mapping that a break of this lease makes independent of the file, before it is given up. */
  protect(mapping: MappedRange | undefined): void {
    this.#mapping = mapping;
    // Locked: the lease thread may be copying what was there, and its address is another mapping's afterwards.
    exclusively(this.#words, (state) => {
      Atomics.add(this.#words, GENERATION, 1);
      return state;
    });
    if (this.#released === undefined) this.#owner.changed(this.#type, mapping);
  }

  /** @internal Whether that has happened. */
  get hasDetached(): boolean {
    return Atomics.load(this.#words, DETACHED) === 1;
  }

  /** @internal It has been given up, here or by the lease thread. */
  gone(): void {
    if (this.#released !== undefined) return;
    this.#owner.forget();
    this.#released = this.#owner.close();
    this.emit('release');
  }
}

/** The leases of this thread, by the numbers they are on. */
const held = new Map<number, Lease>();

/**
 * A lease that is said to be on `fd`, of which the kernel knows nothing, was on a file that has been closed, and whose
 * number has been used again (kernel-rules: fd-reuse). Released now, that does nothing to `fd`; later it would give up
 * the lease that `fd` is about to get. (If it is being broken instead, it is right to give it up.)
 */
function releaseLostLease(fd: number): void {
  const earlier = held.get(fd);
  if (earlier !== undefined && syscalls.fcntl(fd, F_GETLEASE) === F_UNLCK) earlier.release().catch(() => {});
}

/** A path, which is opened for reading; or a FileHandle or descriptor that is open already. */
export type LeaseTarget = string | Buffer | URL | FileHandle | number;

const isHandle = (target: LeaseTarget): target is FileHandle =>
  typeof target === 'object' && typeof (target as FileHandle).fd === 'number';

interface OpenTarget {
  readonly fd: number;
  readonly path: string | undefined;
  close(): Promise<void>;
}

async function openTarget(target: LeaseTarget, type: LeaseType): Promise<OpenTarget> {
  if (typeof target === 'number') return { fd: target, path: undefined, close: async () => {} };
  if (isHandle(target)) return { fd: target.fd, path: undefined, close: async () => {} };
  const path = pathText(target);
  // Looked at first: opening a FIFO would wake its writer, and closing it again lose what that writes
  // (kernel-rules: fifo-open).
  if (!(await stat(target)).isFile()) throw refusal(-EINVAL, type, path);
  // O_NONBLOCK: another process's lease answers EAGAIN at once, instead of holding up a thread of the pool.
  const handle = await open(target, fs.O_RDONLY | fs.O_NONBLOCK);
  // It was only read: what close(2) says is about writes.
  return { fd: handle.fd, path, close: () => handle.close().catch(() => {}) };
}

/**
 * Takes a lease on a file: until it is released, no process can open it for writing, or truncate it ('read'), or open it
 * at all ('write'), without this process being asked first. They wait, for at most /proc/sys/fs/lease-break-time
 * (45 s); with O_NONBLOCK they get EWOULDBLOCK. Renaming and removing are not held up.
 *
 * @param target a path, which is opened for reading; or a FileHandle or descriptor, which must stay open until the
 * lease is released and, for a read lease, be open for reading only.
 * @throws {SyscallError} EACCES, EAGAIN, EINVAL, with what to do; Node's own error if the path cannot be opened.
 * @see https://man7.org/linux/man-pages/man2/fcntl.2.html
 */
export async function acquireLease(target: LeaseTarget, type: LeaseType, given: LeaseOptions = {}): Promise<Lease> {
  const options = readOptions<LeaseOptions>(given, ['signal', 'autoRelease', 'releaseBeforeMs']);
  validateLeaseArguments(target, type, options);
  const { signal, autoRelease = true, releaseBeforeMs = DEFAULT_RELEASE_BEFORE } = options;
  if (signal?.aborted) throw abortError(signal, 0);
  const { available, reason } = feature('lease');
  if (!available) {
    throw Object.assign(new Error(`file leases are not available: ${reason}`), { code: 'ERR_ZEROCOPY_UNAVAILABLE' });
  }
  const file = await openTarget(target, type);
  const thread = await leaseThread().catch(async (error: unknown) => {
    await file.close();
    throw error; // no thread can be started: out of descriptors, or of memory
  });
  const words = new Int32Array(new SharedArrayBuffer(WORDS * Int32Array.BYTES_PER_ELEMENT));
  const { fd } = file;
  let lease: Lease | undefined;
  const watch = { fd, type: TYPES[type], words, autoRelease, releaseBefore: releaseBeforeMs, generation: 0 };
  const id = thread.watch(watch, {
    onBreak: (downgradeTo, deadlineMs) => lease?.emit('break', { downgradeTo, deadlineMs }),
    onReleased: () => lease?.gone(),
    onLost: () => void lease?.release().catch(() => {}),
  });
  const forget = (): void => {
    if (held.get(fd) === lease) held.delete(fd);
    signal?.removeEventListener('abort', onAbort);
    if (isHandle(target)) (target as unknown as EventEmitter).off('close', onHandleClosed);
    thread.forget(id);
    leaveThread();
  };
  const onAbort = (): void => void lease?.release().catch(() => {});
  const onHandleClosed = (): void => {
    // The kernel has dropped the lease with the descriptor, whose number may be another file's by now.
    exclusively(words, () => RELEASED);
    lease?.gone();
  };
  releaseLostLease(fd);
  // Everything is in place before the lease is taken (kernel-rules: lease-order).
  let result = syscalls.fcntl(fd, F_SETOWN_EX, Int32Array.of(F_OWNER_TID, thread.threadId));
  if (result >= 0) result = syscalls.fcntl(fd, F_SETSIG, LEASE_SIGNAL);
  if (result >= 0) result = syscalls.fcntl(fd, F_SETLEASE, TYPES[type]);
  if (result < 0) {
    forget();
    await file.close();
    throw refusal(result, type, file.path);
  }
  lease = new Lease(fd, type, words, {
    ownsFile: typeof target !== 'number' && !isHandle(target),
    forget,
    changed: (now, mapping) =>
      thread.watchAgain(id, { ...watch, type: TYPES[now], mapping, generation: Atomics.load(words, GENERATION) }),
    close: () => file.close(),
  });
  held.set(fd, lease);
  signal?.addEventListener('abort', onAbort, { once: true });
  if (signal?.aborted) {
    await lease.release();
    throw abortError(signal, 0);
  }
  if (isHandle(target)) (target as unknown as EventEmitter).once('close', onHandleClosed);
  return lease;
}
