/** Known bytes: a pattern whose every position can be recognised, and keystreams that no other bytes can be taken for. */
import { createCipheriv, createHash, type Hash } from 'node:crypto';
import { Readable } from 'node:stream';

export const KiB = 1024;
export const MiB: number = 1024 * KiB;

/**
 * Bytes in which every position differs from its neighbours, and from the positions a block or a page away.
 *
 * @param from Where in the endless pattern they begin, in bytes.
 */
export function pattern(length: number, from = 0): Buffer {
  const buffer = Buffer.allocUnsafe(length);
  for (let index = 0; index < length; index++) {
    const at = from + index;
    buffer[index] = (at * 31 + (at >>> 8) * 17 + (at >>> 16) * 7) & 0xff;
  }
  return buffer;
}

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** How many bytes there were, and their SHA-256 in hexadecimal. */
export interface Fingerprint {
  readonly bytes: number;
  readonly sha256: string;
}

/** Counts and hashes what it is given, without keeping it. */
export class FingerprintCounter {
  bytes = 0;
  readonly #hash: Hash = createHash('sha256');

  add(chunk: Uint8Array): void {
    this.bytes += chunk.length;
    this.#hash.update(chunk);
  }

  finish(): Fingerprint {
    return { bytes: this.bytes, sha256: this.#hash.digest('hex') };
  }
}

export function fingerprintOf(chunks: Iterable<Uint8Array>): Fingerprint {
  const counter = new FingerprintCounter();
  for (const chunk of chunks) counter.add(chunk);
  return counter.finish();
}

const CHUNK = 64 * KiB;
const ZEROS = Buffer.alloc(CHUNK);

/** A keystream: the same bytes for the same name and seed on every host, in chunks of 64 KiB. */
export function* bytesOf(name: string, seed: number, length: number): Generator<Buffer> {
  const key = createHash('sha256').update(`${seed}:${name}`).digest().subarray(0, 16);
  const cipher = createCipheriv('aes-128-ctr', key, Buffer.alloc(16));
  for (let left = length; left > 0; left -= CHUNK) yield cipher.update(ZEROS.subarray(0, Math.min(CHUNK, left)));
}

/** The same as a stream. */
export const streamOf = (name: string, seed: number, length: number): Readable =>
  Readable.from(bytesOf(name, seed, length), { objectMode: false, highWaterMark: CHUNK });
