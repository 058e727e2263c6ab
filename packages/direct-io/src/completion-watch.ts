/**
 * Completions, told by libuv: a net.Socket reads an eventfd. libuv takes no eventfd, but a pipe; and it looks at a descriptor
 * at the next wait for events only. So it is given the end of a pipe, in whose place the eventfd is put in the same turn of
 * the event loop: what epoll watches is the eventfd (kernel-rules: eventfd-in-a-pipe).
 */
import type { OnReadOpts, Socket, SocketConstructorOpts } from 'node:net';
import { check, constants, descriptorOf, OwnedDescriptor, syscalls } from '@zerocopy/core-syscalls';
import { socketOver } from '@zerocopy/transfer';

const { O_CLOEXEC, O_NONBLOCK } = constants;
/** An eventfd is read eight bytes at a time; a read that is shorter than the memory is the last one of its turn. */
const ROOM = 64;

/** The reading end of a pipe whose other end is closed. */
function pipeEnd(): OwnedDescriptor {
  const ends = new Int32Array(2);
  check(syscalls.pipe2(ends, O_CLOEXEC | O_NONBLOCK), 'pipe2');
  const [reading = -1, writing = -1] = ends;
  syscalls.close(writing);
  return OwnedDescriptor.adopt(reading);
}

function optionsFor(onCompletions: () => void): Omit<SocketConstructorOpts, 'fd'> & { onread: OnReadOpts } {
  const callback = (): boolean => {
    onCompletions();
    return true;
  };
  return { readable: true, writable: false, onread: { buffer: Buffer.alloc(ROOM), callback } };
}

/** See above. */
export class CompletionWatch {
  readonly #socket: Socket;
  /** The eventfd, which belongs to this object. */
  readonly eventfd: number;

  /**
   * @param onCompletions called from the event loop, when the counter was not 0.
   * @throws {SyscallError} EMFILE. {Error} if this runtime does not take a pipe.
   */
  constructor(onCompletions: () => void) {
    const counter = OwnedDescriptor.adopt(check(syscalls.eventfd(0, O_CLOEXEC | O_NONBLOCK), 'eventfd'));
    try {
      this.#socket = socketOver(pipeEnd(), optionsFor(onCompletions));
      this.eventfd = descriptorOf(this.#socket) ?? -1;
      try {
        check(syscalls.dup3(counter.fd, this.eventfd, O_CLOEXEC), 'dup3');
      } catch (error) {
        this.close();
        throw error;
      }
    } finally {
      counter.close();
    }
    this.#socket.on('error', () => {}); // a read of an eventfd cannot fail
    this.#socket.unref();
  }

  /** Whether the event loop stays alive for it. */
  keepAlive(needed: boolean): void {
    if (needed) this.#socket.ref();
    else this.#socket.unref();
  }

  /** Closes the eventfd. */
  close(): void {
    this.#socket.destroy();
  }
}
