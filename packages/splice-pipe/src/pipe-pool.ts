/**
 * Pipes, the buffers of splice(2): bounded, used again only when empty (kernel-rules: dirty-pipe), closed when nobody
 * needs them.
 *
 *   (made) ──► in use ──empty──► idle ──► in use …
 *                 └──dirty──► closed ◄──a second without use──┘
 */
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { withSpareDescriptors } from '@zerocopy/core-syscalls/descriptors';
import { systemLimits } from '@zerocopy/core-syscalls/native';
import { clearInterval, OwnedDescriptor, pieceSize, setInterval } from '@zerocopy/transfer';

const KiB = 1024;
/** What a pipe holds unless more is asked for: sixteen pages. */
const DEFAULT_CAPACITY = 64 * KiB;
/**
 * What one fill asks for at least, while many share the loop. Measured with 64 busy connections: 64 KiB cost up to
 * three times the CPU of this, and more gains nothing.
 */
export const FILL_MIN: number = 256 * KiB;
/** In use and idle. Whoever finds none left copies instead. */
const OPEN_MAX = 512;
/** More than this are closed at once: they only wait for the next burst. */
const IDLE_MAX = 32;
const IDLE_TIME_MS = 1000;
const { EINTR, F_GETPIPE_SZ, F_SETPIPE_SZ, O_CLOEXEC, O_NONBLOCK } = constants;

/** A pipe of ours; the descriptors are this process's own. */
export interface Pipe {
  readonly readFd: number;
  readonly writeFd: number;
  /** Bytes, if every page is full. Slots fill, not bytes: small segments use it up sooner (kernel-rules: pipe-slots). */
  readonly capacity: number;
  /** Bytes in it, kept up to date by whoever uses it. */
  held: number;
}

/** What {@link pipePoolStats} answers. */
export interface PipePoolStats {
  /** Pipes that hold, or are about to hold, bytes on their way. */
  readonly inUse: number;
  /** Empty pipes kept for the next transfer; they are closed after a second without use. */
  readonly idle: number;
  /** Pipes made since the process started, on this thread. */
  readonly created: number;
  /** Of those in use or idle, the ones the kernel gave less than 64 KiB, because the user has too many (kernel-rules: pipe-quota). */
  readonly small: number;
  /** Bytes that all of them together may hold. */
  readonly capacity: number;
  /** Times that no pipe could be had: the bound was reached, or the process is out of descriptors. */
  readonly refused: number;
}

const idle: Pipe[] = [];
const open = new Map<Pipe, readonly OwnedDescriptor[]>();
const fds = new Int32Array(2);
let created = 0;
let refused = 0;
let shrinking: NodeJS.Timeout | undefined;
/** Whether an idle pipe has been used since the last look. */
let busy = false;
let growthRefused = false;

/** What to ask for, while many share the loop or the user's quota: a quarter of the soft limit for all of ours. */
function wantedCapacity(): number {
  const { pipeUserPagesSoft, pipeMaxSize } = systemLimits();
  const fair = 2 ** Math.floor(Math.log2(pieceSize(FILL_MIN)));
  const quota = pipeUserPagesSoft ? (pipeUserPagesSoft * syscalls.getpagesize()) / 4 : Number.POSITIVE_INFINITY;
  const room = process.getuid?.() === 0 ? Number.POSITIVE_INFINITY : quota / (open.size + 1);
  return Math.min(fair, room, pipeMaxSize ?? DEFAULT_CAPACITY);
}

function make(): Pipe | null {
  if (open.size >= OPEN_MAX || withSpareDescriptors(() => syscalls.pipe2(fds, O_CLOEXEC | O_NONBLOCK)) < 0) return null;
  const [readEnd, writeEnd] = Array.from(fds, (fd) => OwnedDescriptor.adopt(fd)) as [OwnedDescriptor, OwnedDescriptor];
  const [readFd, writeFd] = [readEnd.fd, writeEnd.fd];
  let capacity = -1;
  const wanted = wantedCapacity();
  if (wanted > DEFAULT_CAPACITY && !growthRefused) {
    capacity = syscalls.fcntl(writeFd, F_SETPIPE_SZ, wanted);
    growthRefused = capacity < 0; // over the user's quota; asked again once pipes have been closed
  }
  if (capacity < 0) capacity = syscalls.fcntl(writeFd, F_GETPIPE_SZ);
  if (capacity < 0) {
    // Of no use to tee, which has to know.
    for (const end of [readEnd, writeEnd]) end.close();
    return null;
  }
  const pipe: Pipe = { readFd, writeFd, capacity, held: 0 };
  open.set(pipe, [readEnd, writeEnd]);
  created++;
  return pipe;
}

function close(pipe: Pipe): void {
  const ends = open.get(pipe);
  if (ends === undefined) return;
  open.delete(pipe);
  for (const end of ends) end.close();
  growthRefused = false;
}

function shrink(): void {
  if (!busy) for (const pipe of idle.splice(0)) close(pipe);
  busy = false;
  if (idle.length === 0) {
    clearInterval(shrinking);
    shrinking = undefined;
  }
}

/** An empty pipe; or null if there is none to be had: then go on without. */
export function acquirePipe(): Pipe | null {
  busy = true;
  const pipe = idle.pop() ?? make();
  if (pipe === null) refused++;
  return pipe;
}

/** Takes a pipe back. One that holds bytes is closed, both ends: nobody else must ever read them. */
export function releasePipe(pipe: Pipe): void {
  if (pipe.held !== 0 || idle.length >= IDLE_MAX) {
    close(pipe);
    return;
  }
  idle.push(pipe);
  shrinking ??= setInterval(shrink, IDLE_TIME_MS).unref();
}

/** Reads up to `size` of what a pipe holds into `buffer`: their number, or a negative errno. */
export function takeFromPipe(pipe: Pipe, buffer: Uint8Array, size: number): number {
  let result: number;
  do result = syscalls.read(pipe.readFd, buffer, Math.min(pipe.held, size));
  while (result === -EINTR);
  if (result > 0) pipe.held -= result;
  return result;
}

/** Takes all bytes out of a pipe. @returns them; if a read has failed, fewer than `pipe.held` was, and it tells what is left. */
export function takeAllFromPipe(pipe: Pipe): Buffer {
  const bytes = Buffer.allocUnsafe(pipe.held);
  let taken = 0;
  for (let read = 1; pipe.held > 0 && read > 0; taken += Math.max(0, read)) {
    read = takeFromPipe(pipe, bytes.subarray(taken), pipe.held);
  }
  return bytes.subarray(0, taken);
}

/** The pipes of this thread, at this moment. */
export function pipePoolStats(): PipePoolStats {
  let small = 0;
  let capacity = 0;
  for (const pipe of open.keys()) {
    capacity += pipe.capacity;
    if (pipe.capacity < DEFAULT_CAPACITY) small++;
  }
  return { inUse: open.size - idle.length, idle: idle.length, created, small, capacity, refused };
}
