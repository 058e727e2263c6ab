/** Go's io.Copy for Node: any two ends, by whichever package knows the way between them. */
import type { FileHandle } from 'node:fs/promises';
import type { IncomingMessage, OutgoingMessage } from 'node:http';
import type { Readable, Writable } from 'node:stream';
import type { TransferResult } from '@zerocopy/core-syscalls';
import type * as Copying from './copying.lazy.js';

type Path = string | Buffer | URL;

/**
 * What bytes are copied from: the path of a file, a descriptor, a FileHandle, a net.Socket, an HTTP message that is received,
 * the standard output of a child, any Readable.
 */
export type CopySource = Path | number | FileHandle | IncomingMessage | Readable;
/**
 * What they are copied to: the path of a file, which is made or overwritten, a descriptor, a FileHandle, a net.Socket, an HTTP
 * message that is sent, the standard input of a child, any Writable.
 */
export type CopyDestination = Path | number | FileHandle | OutgoingMessage | Writable;

/** The options of {@link copy}. */
export interface CopyOptions {
  /** Of a file: the first byte, from 0. Default 0; for a descriptor or FileHandle its own position. */
  start?: number;
  /** Of a file: the last byte, inclusive. Not together with `length`. Default: the end of the file. */
  end?: number;
  /** Bytes, at most. Not together with `end`. Default: up to the source's end. */
  length?: number;
  /** Ends the transfer where it is: it rejects with an AbortError. */
  signal?: AbortSignal;
  /** After every pause of the transfer and at its end: `bytes` so far, `total` if it is known. */
  onProgress?(bytes: number, total?: number): void;
}

/**
 * Copies what `source` brings to `destination`, inside the kernel where it can.
 *
 * Neither end is ended or closed, but for the files that were opened by their paths: `response.end()` is the caller's. From
 * one path to another a whole file is copied as by `copyFile` of @zerocopy/file-copy. Any other path that is written to
 * is made with the mode of fs.open, or cut off, and keeps what has arrived if the copy fails.
 *
 * @returns how many bytes went, and how. Rejects with a TransferError, whose `bytes` had arrived; with Node's own error if
 * a path cannot be opened; with EINVAL, before anything is cut off, if `destination` is the path of the file that is read;
 * with a TypeError or RangeError for invalid arguments.
 */
export async function copy(
  source: CopySource,
  destination: CopyDestination,
  options: CopyOptions = {},
): Promise<TransferResult> {
  // By require, as consider.lazy.js is: with it come the packages that know the ways.
  return (require('./copying.lazy.js') as typeof Copying).copy(source, destination, options);
}
