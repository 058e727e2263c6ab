/**
 * The seam to @zerocopy/sendfile-stream: the one place where bytes of a file are handed to it. What is sent stays open for
 * as long as it takes, whatever becomes of the plan.
 */
import type { ServerResponse } from 'node:http';
import type { Writable } from 'node:stream';
import { sendFile } from '@zerocopy/sendfile-stream';
import { endedEarly, type TransferResult } from '@zerocopy/transfer';
import type { OpenedFile } from './opened-file.js';

export interface SentRange {
  readonly file: OpenedFile;
  /** Of the first byte. */
  readonly start: number;
  /** Bytes, more than 0. */
  readonly length: number;
}

/**
 * Sends a range; the message is not ended, so that one that turned out too short can still be destroyed.
 * @returns when it is with the kernel. Rejects with a TransferError, whose `bytes` had left: with ERR_FILE_TRUNCATED if the
 * file has become shorter, also between being opened and being sent.
 */
export async function sendRange(
  destination: ServerResponse | Writable,
  { file, start, length }: SentRange,
): Promise<TransferResult> {
  file.hold();
  try {
    const result = await sendFile(destination, file.source, { start, end: start + length - 1, endMessage: false });
    if (result.bytes < length) throw endedEarly(result.bytes, length);
    return result;
  } finally {
    file.release();
  }
}
