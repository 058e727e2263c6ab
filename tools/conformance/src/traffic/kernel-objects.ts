/** Kernel objects that Node has no way to make. By koffi itself: what goes through core-syscalls is counted and disturbed. */
import { Socket } from 'node:net';
import { constants, descriptorOf } from '@zerocopy/core-syscalls';
import koffi from 'koffi';

const { O_CLOEXEC, O_NONBLOCK, SOL_SOCKET, SO_SNDBUF } = constants;
const SMALL_BUFFER = 32 * 1024;

type Call = (...args: unknown[]) => number;
let libc: { readonly pipe2: Call; readonly setsockopt: Call } | undefined;

function calls(): NonNullable<typeof libc> {
  if (libc === undefined) {
    const library = koffi.load(null);
    libc = {
      pipe2: library.func('int pipe2(int *fds, int flags)') as unknown as Call,
      setsockopt: library.func('int setsockopt(int fd, int level, int name, int *value, uint size)') as unknown as Call,
    };
  }
  return libc;
}

export interface PipeEnds {
  readonly readFd: number;
  /** The other end, as a stream. */
  readonly writer: Socket;
}

/** A pipe, neither end of which blocks. Whoever asks closes `readFd`. */
export function makePipe(): PipeEnds {
  const fds = new Int32Array(2);
  if (calls().pipe2(fds, O_NONBLOCK | O_CLOEXEC) !== 0) throw new Error(`pipe2: errno ${koffi.errno()}`);
  const [readFd, writeFd] = fds as unknown as [number, number];
  return { readFd, writer: new Socket({ fd: writeFd, readable: false, writable: true }) };
}

/**
 * Gives a socket little to buffer, so that whoever writes to it has to wait. What it may receive stays as it is: over
 * loopback, with segments of 64 KiB, a smaller window makes TCP wait for timers.
 */
export function shrinkBuffer(socket: Socket): void {
  const fd = descriptorOf(socket);
  if (fd === null) throw new Error('the socket has no descriptor');
  if (calls().setsockopt(fd, SOL_SOCKET, SO_SNDBUF, new Int32Array([SMALL_BUFFER]), 4) !== 0) {
    throw new Error(`setsockopt: errno ${koffi.errno()}`);
  }
}
