/** What a real program is to be tried with: unmodified, with the pipes moved by the kernel and without. */
import type { Server } from 'node:net';

/** What can be asked of a program, byte for byte on a connection of its own. */
export interface Exchange {
  readonly name: string;
  /** The head of the request, without its last empty line; and what follows. Connection: close is added. */
  readonly head?: readonly string[];
  readonly body?: Buffer;
  /** The body is sent in chunks, without a Content-Length. */
  readonly chunked?: boolean;
  /** Instead of `head`: whatever is to be done, and what came of it. */
  readonly converse?: (port: number) => Promise<Buffer>;
}

export interface RealProgram {
  readonly name: string;
  /** The packages that it needs; one that is not installed leaves the program out, and is told. */
  readonly modules: readonly string[];
  /** Starts all its servers. @returns the one that is asked, listening. */
  start(site: string): Promise<Server>;
  readonly exchanges: readonly Exchange[];
  /** The kinds of pipes that must have gone beneath Node's. None: all is left to Node. */
  readonly kinds: readonly string[];
}

export const KiB = 1024;
export const MiB: number = 1024 * KiB;

/** Sizes of the files of the site, in bytes. */
export const FILES: Readonly<Record<string, number>> = {
  'small.txt': 3000,
  'page.html': 70 * KiB,
  'large.bin': 1.5 * MiB + 3,
  'huge.bin': 5 * MiB + 1,
};

/** Bytes that are the same in every run, and differ from their neighbours. */
export function content(name: string): Buffer {
  const bytes = Buffer.alloc(FILES[name] as number);
  for (let at = 0; at < bytes.length; at++) bytes[at] = (at * 31 + (at >>> 8) * 17 + (at >>> 16) * 7) & 0xff;
  return bytes;
}
