/**
 * A small file that has been read, as the whole body of a message of HTTP/1: what is left to do is `end`, as for bytes that had
 * been in memory all the time. There is no slot, no turn and no scope, since nothing is to be waited for and there is nobody
 * else to be told; it is counted as any transfer is.
 */
import type { OutgoingMessage } from 'node:http';
import type { TransferResult } from '@zerocopy/core-syscalls';
import { closedEarly, countTransfer, failureOf, transferError } from '@zerocopy/transfer';
import { reasonOf } from './file-send.js';
import { announce, reserve } from './message-body.js';
import { whenTurnIsLost } from './queued-response.js';
import type { PreparedSend } from './send-to-stream.js';

/** The promise tells of a failure; the message's own event needs no listener for that. */
const ignore = (): void => {};

/** Resolves when the end of the message is out. Rejects with a TransferError. `prepared.isPlain` holds. */
export function sendSmallFile(message: OutgoingMessage, prepared: PreparedSend): Promise<TransferResult> {
  return new Promise((resolve, reject) => {
    const { small, plan, smallFileSize } = prepared;
    const { length } = plan;
    const startedAt = performance.now();
    let isOver = false;
    const result = (bytes: number): TransferResult => ({
      bytes,
      method: 'copy',
      syscalls: 1,
      durationMs: performance.now() - startedAt,
      fallbackReason: reasonOf(plan, small, smallFileSize) as string,
    });
    const leave = (): boolean => {
      const wasOver = isOver;
      isOver = true;
      message.off('error', ignore);
      unwatch();
      return wasOver;
    };
    let unwatch = (): void => {};
    const onFinish = (): void => {
      if (leave()) return;
      small?.recycle();
      const whole = result(length);
      countTransfer(whole, false);
      resolve(whole);
    };
    const fail = (error: unknown): void => {
      if (leave()) return;
      countTransfer(result(0), true);
      reject(error);
    };
    const onClose = (): void => {
      if (isOver) return;
      const failure = failureOf(message);
      fail(failure === null ? closedEarly('destination', 0) : transferError(failure, 0));
    };
    announce(message, length);
    message.on('finish', onFinish);
    message.on('close', onClose);
    message.on('error', ignore);
    try {
      message.end(small?.bytesFor(message));
    } catch (error) {
      return fail(error); // of methods that others have replaced
    }
    // Methods that others replace may end it later: until then these bytes are promised.
    if (!message.writableEnded) reserve(message, length);
    if (!isOver) unwatch = whenTurnIsLost(message, onClose);
  });
}
