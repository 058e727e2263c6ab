/**
 * Recognisable bytes. Those of files and bodies are below {@link MARK}, those of a program's own writes are at or above
 * it: what has arrived can be told apart, and put back together, wherever the writes came in between.
 */

/** The first value of a byte that belongs to no file. */
const MARK = 0xf0;
const MiB = 1024 * 1024;

let pool = Buffer.alloc(0);

function grow(size: number): void {
  const larger = Buffer.allocUnsafe(Math.max(MiB, 2 ** Math.ceil(Math.log2(size))));
  let state = 0x9e3779b9;
  for (let at = 0; at < larger.length; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    larger[at] = (state >>> 8) % MARK;
  }
  pool = larger;
}

/** What a file of the tests holds from `start` on. Nobody may write to it. */
export function content(start: number, length: number): Buffer {
  if (start + length > pool.length) grow(start + length);
  return pool.subarray(start, start + length);
}

/** Bytes that are not of a file; `seed` tells one write from another. */
export function marks(length: number, seed: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let at = 0; at < length; at++) bytes[at] = MARK + ((at + seed) % (0x100 - MARK));
  return bytes;
}

/** How much of what was expected has come: nothing that is not its beginning is any of these. */
export type Share = 'nothing' | 'part' | 'all' | 'empty';

/** @returns the share, or undefined if `got` is not a beginning of `expected`. */
export function shareOf(got: Buffer, expected: Buffer): Share | undefined {
  if (got.length > expected.length || !got.equals(expected.subarray(0, got.length))) return undefined;
  if (expected.length === 0) return 'empty';
  if (got.length === 0) return 'nothing';
  return got.length === expected.length ? 'all' : 'part';
}

/** Where `got` begins to differ from `expected`, in words. */
export function difference(got: Buffer, expected: Buffer): string {
  const shorter = Math.min(got.length, expected.length);
  let at = 0;
  while (at < shorter && got[at] === expected[at]) at++;
  return `${got.length} bytes instead of ${expected.length}, different from ${at} on`;
}

export interface Layout {
  /** The bytes of files, in order. */
  readonly file: Buffer;
  /** The bytes of writes, in order. */
  readonly marks: Buffer;
  /** What came after what: runs of either, by their length; negative for those of a file. */
  readonly runs: number[];
}

/** Takes apart what has arrived. */
export function separate(received: Buffer): Layout {
  const file = Buffer.allocUnsafe(received.length);
  const written = Buffer.allocUnsafe(received.length);
  const runs: number[] = [];
  let files = 0;
  let writes = 0;
  let at = 0;
  while (at < received.length) {
    const from = at;
    const isMark = (received[at] as number) >= MARK;
    if (isMark) while (at < received.length && (received[at] as number) >= MARK) at++;
    else while (at < received.length && (received[at] as number) < MARK) at++;
    const length = at - from;
    if (isMark) {
      received.copy(written, writes, from, at);
      writes += length;
      runs.push(length);
    } else {
      received.copy(file, files, from, at);
      files += length;
      runs.push(-length);
    }
  }
  return { file: file.subarray(0, files), marks: written.subarray(0, writes), runs };
}
