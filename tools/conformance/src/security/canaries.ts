/**
 * Files and sockets of somebody else's, opened where a descriptor has just become free: what has kept its number writes
 * into them, reads from them, or moves their position, and that is seen.
 */
import { closeSync, fstatSync, mkdirSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { constants, syscalls } from '@zerocopy/core-syscalls';

const { AF_UNIX, F_DUPFD_CLOEXEC, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM } = constants;
const KiB = 1024;

/** Bytes that are in no canary: what is transferred is made of these. */
export function innocent(length: number): Buffer {
  const buffer = Buffer.alloc(length);
  for (let at = 0; at < length; at++) buffer[at] = (at * 31 + (at >>> 7) * 17 + (at >>> 14) * 7) & 0x7f;
  return buffer;
}

/** Where the canary's bytes begin in `bytes`, if any are there. */
export function canaryByteIn(bytes: Buffer): number {
  return bytes.findIndex((byte) => byte >= 0x80);
}

const CONTENT = Buffer.alloc(256 * KiB, 0xc7);
/** Where a canary's position is put, in bytes. */
const POSITION = 12_345;
/** What waits in a canary socket to be read. */
const WAITING = Buffer.alloc(64, 0xd3);

interface Canary {
  readonly fd: number;
  /** What has happened to it, or undefined. */
  damage(): string | undefined;
  close(): void;
}

function openFile(path: string): Canary {
  const fd = openSync(path, 'r+');
  readSync(fd, Buffer.alloc(POSITION), 0, POSITION, null);
  return {
    fd,
    damage() {
      const position = /^pos:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1];
      if (Number(position) !== POSITION) return `the position of the file at ${fd} has moved to ${position}`;
      if (fstatSync(fd).size !== CONTENT.length) return `the file at ${fd} has ${fstatSync(fd).size} bytes`;
      return readFileSync(path).equals(CONTENT) ? undefined : `the file at ${fd} has been written to`;
    },
    close: () => closeSync(fd),
  };
}

/** One end of a pair of connected sockets; the other end is moved out of the way, and would get what is written to it. */
function openSocket(): Canary {
  const pair = new Int32Array(2);
  if (syscalls.socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
    throw new Error('socketpair');
  const [first, second] = pair as unknown as [number, number];
  const fd = Math.min(first, second);
  const peer = syscalls.fcntl(Math.max(first, second), F_DUPFD_CLOEXEC, 500);
  syscalls.close(Math.max(first, second));
  syscalls.write(peer, WAITING, WAITING.length);
  const buffer = Buffer.alloc(KiB);
  return {
    fd,
    damage() {
      const got = syscalls.recv(peer, buffer, buffer.length, MSG_DONTWAIT);
      if (got >= 0) return `the socket at ${fd} has ${got === 0 ? 'been shut down' : `sent ${got} bytes`}`;
      const waiting = syscalls.recv(fd, buffer, buffer.length, MSG_DONTWAIT);
      return waiting === WAITING.length ? undefined : `the socket at ${fd} has been read from`;
    },
    close() {
      syscalls.close(fd);
      syscalls.close(peer);
    },
  };
}

export class Canaries {
  readonly #paths: readonly string[];
  readonly #open: Canary[] = [];

  /** @param directory of this object's own. */
  constructor(directory: string) {
    mkdirSync(directory, { recursive: true });
    this.#paths = Array.from({ length: 8 }, (_, index) => join(directory, `canary-${index}`));
    for (const path of this.#paths) writeFileSync(path, CONTENT);
  }

  /** Takes the lowest free numbers, which are the next to be used again, in turn for files and sockets. */
  occupy(count: number): void {
    for (let n = 0; n < count; n++) {
      const index = this.#open.length;
      this.#open.push(index % 3 === 2 ? openSocket() : openFile(this.#paths[index % this.#paths.length] as string));
    }
  }

  /** Whether one of `fds` is a canary's now. */
  sitsOn(fds: readonly number[]): boolean {
    return this.#open.some(({ fd }) => fds.includes(fd));
  }

  /** Looks at all of them, and closes them. */
  release(): string[] {
    const damages = this.#open.map((canary) => canary.damage()).filter((damage) => damage !== undefined);
    for (const canary of this.#open.splice(0)) canary.close();
    if (damages.length > 0) for (const path of this.#paths) writeFileSync(path, CONTENT);
    return damages;
  }
}
