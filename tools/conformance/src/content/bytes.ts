/** Bytes that nobody could take for others: a keystream, a different one for every name. */
import { createCipheriv, createHash, type Hash } from 'node:crypto';
import { Readable } from 'node:stream';

export interface Fingerprint {
  readonly bytes: number;
  readonly sha256: string;
}

const CHUNK = 64 * 1024;
const ZEROS = Buffer.alloc(CHUNK);

/** The same bytes for the same name and seed, on whichever host. */
export function* bytesOf(name: string, seed: number, length: number): Generator<Buffer> {
  const key = createHash('sha256').update(`${seed}:${name}`).digest().subarray(0, 16);
  const cipher = createCipheriv('aes-128-ctr', key, Buffer.alloc(16));
  for (let left = length; left > 0; left -= CHUNK) yield cipher.update(ZEROS.subarray(0, Math.min(CHUNK, left)));
}

export function fingerprintOf(chunks: Iterable<Uint8Array>): Fingerprint {
  const counter = new FingerprintCounter();
  for (const chunk of chunks) counter.add(chunk);
  return counter.finish();
}

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

export const streamOf = (name: string, seed: number, length: number): Readable =>
  Readable.from(bytesOf(name, seed, length), { objectMode: false, highWaterMark: CHUNK });
