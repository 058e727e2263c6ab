/**
 * The seam to @zerocopy/sendfile-stream: the one place where bytes of a file are handed to it. What is sent stays open for
 * as long as it takes, whatever becomes of the plan.
 */
import type { ServerResponse } from 'node:http';
import type { Writable } from 'node:stream';
import { sendFile } from '@zerocopy/sendfile-stream';
import type { TransferResult } from '@zerocopy/transfer';
import type { OpenedFile } from './opened-file.js';

export interface SentRange {
  readonly file: OpenedFile;
  /** Of the first byte. */
  readonly start: number;
  /** Bytes, more than 0. */
  readonly length: number;
}

/**
 * @param ends whether it is the last of the body, with which the message is ended.
 * @returns when it is with the kernel. Rejects with a TransferError, whose `bytes` had left; the message is destroyed if the
 * file turned out to be shorter.
 */
export function sendRange(
  destination: ServerResponse | Writable,
  { file, start, length }: SentRange,
  ends: boolean,
): Promise<TransferResult> {
  file.hold();
  const sent = sendFile(destination, file.fd, { start, end: start + length - 1, endMessage: ends });
  return sent.finally(() => file.release());
}
