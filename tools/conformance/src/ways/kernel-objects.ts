/** Calls that Node has not. By koffi itself: what goes through core-syscalls is counted and disturbed. */
import { closeSync, openSync } from 'node:fs';
import type { Socket } from 'node:net';
import { constants, descriptorOf } from '@zerocopy/core-syscalls';
import koffi from 'koffi';

const {
  AF_UNIX,
  ECONNRESET,
  FIONREAD,
  O_CLOEXEC,
  O_NONBLOCK,
  POSIX_FADV_DONTNEED,
  SOCK_CLOEXEC,
  SOCK_STREAM,
  SOL_SOCKET,
} = constants;
const [SO_ERROR, SO_SNDBUF, SO_RCVBUF] = [4, 7, 8];

type Call = (...args: unknown[]) => number;
const PROTOTYPES = {
  pipe2: 'int pipe2(int *fds, int flags)',
  socketpair: 'int socketpair(int domain, int type, int protocol, int *fds)',
  getsockopt: 'int getsockopt(int fd, int level, int name, int *value, uint *size)',
  setsockopt: 'int setsockopt(int fd, int level, int name, int *value, uint size)',
  ioctl: 'int ioctl(int fd, ulong request, int *value)',
  posix_fadvise: 'int posix_fadvise(int fd, int64 offset, int64 length, int advice)',
} as const;
const bound = new Map<keyof typeof PROTOTYPES, Call>();

function attempt(name: keyof typeof PROTOTYPES, ...args: unknown[]): number {
  const native = bound.get(name) ?? (koffi.load(null).func(PROTOTYPES[name]) as unknown as Call);
  bound.set(name, native);
  return native(...args);
}

function call(name: keyof typeof PROTOTYPES, ...args: unknown[]): void {
  if (attempt(name, ...args) !== 0) throw new Error(`${name}: errno ${koffi.errno()}`);
}

function pairOf(make: (fds: Int32Array) => void): readonly [number, number] {
  const fds = new Int32Array(2);
  make(fds);
  return fds as unknown as [number, number];
}

/** A pipe, neither end of which blocks: the end to read from, the end to write to. */
export const makePipe = (): readonly [number, number] => pairOf((fds) => call('pipe2', fds, O_NONBLOCK | O_CLOEXEC));

/** Connected unix sockets. */
export const makeSocketPair = (): readonly [number, number] =>
  pairOf((fds) => call('socketpair', AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));

/**
 * Gives a socket little to buffer, so that its writer has to wait. What it may receive stays as it is: over loopback,
 * with segments of 64 KiB, a smaller window makes TCP wait for timers.
 */
export function shrinkBuffer(socket: Socket, bytes: number = 32 * 1024): void {
  call('setsockopt', descriptorOf(socket), SOL_SOCKET, SO_SNDBUF, new Int32Array([bytes]), 4);
}

/** Gives a socket little to receive before it is read, where its segments are those of a network. */
export function shrinkWindow(socket: Socket, bytes: number): void {
  call('setsockopt', descriptorOf(socket), SOL_SOCKET, SO_RCVBUF, new Int32Array([bytes]), 4);
}

/** Drops a file from the page cache, as far as it is clean and its filesystem can do without. */
export function makeCold(path: string): void {
  const fd = openSync(path, 'r');
  call('posix_fadvise', fd, 0, 0, POSIX_FADV_DONTNEED);
  closeSync(fd);
}

/** What waits in the kernel to be read from a stream, in bytes. */
export function unreadBytes(stream: Socket): number {
  const fd = descriptorOf(stream);
  const count = new Int32Array(1);
  if (fd !== null) call('ioctl', fd, FIONREAD, count);
  return count[0] as number;
}

/** Whether what passes for the end of a connection is a reset that Node has not read (kernel-rules: reset-as-end). */
export function isResetUnread(stream: Socket): boolean {
  const fd = descriptorOf(stream);
  const error = new Int32Array(1);
  // A pipe is a net.Socket, too, and has none.
  if (fd !== null) attempt('getsockopt', fd, SOL_SOCKET, SO_ERROR, error, new Uint32Array([4]));
  return error[0] === ECONNRESET;
}
