/** What a stream copies by Node's own reading and writing is a transfer, too: it is published as one, once. */
import { errorMonitor } from 'node:events';
import { finished, type Readable, type Writable } from 'node:stream';
import {
  closedEarly,
  failureOf,
  setImmediate,
  type TransferAbout,
  type TransferResult,
  TransferScope,
  transferError,
} from '@zerocopy/transfer';

/** What is told of a copy. */
export interface Copy {
  readonly about: TransferAbout;
  /** Bytes that have been copied so far. */
  bytes(): number;
  /** Why they are copied, in words. */
  reason(): string | undefined;
}

/** One scope for a copy, and its result. */
function open({ about, bytes, reason }: Copy): {
  readonly scope: TransferScope;
  succeed(): void;
  fail(error: unknown): void;
} {
  const scope = new TransferScope(about);
  const startedAt = performance.now();
  scope.start();
  const result = (): TransferResult => {
    const told: TransferResult = {
      bytes: bytes(),
      method: 'copy',
      syscalls: 0, // by libuv
      durationMs: performance.now() - startedAt,
    };
    const why = reason();
    if (why !== undefined) told.fallbackReason = why;
    return told;
  };
  return {
    scope,
    succeed: () => scope.succeed(result()),
    fail: (error) => {
      const told = result();
      scope.fail(transferError(error, told.bytes), told);
    },
  };
}

/** Publishes what `stream` brings, from now on until it ends. */
export function publishReading(stream: Readable, copy: Copy): void {
  const { succeed, fail } = open(copy);
  finished(stream, { writable: false }, (error) => {
    if (!error) succeed();
    // Without an error of its own: its peer, or its user, has gone.
    else fail(failureOf(stream) ?? closedEarly('source', copy.bytes()));
  });
}

/** A pipe that is published. */
export interface PublishedPipe {
  readonly source: Readable;
  readonly over: boolean;
  /** To be called when the destination has been destroyed: with `emitClose: false` no event tells it. Idempotent. */
  destroyed(error: Error | null): void;
}

/** Publishes what the pipe from `source` writes to `stream`, from now on until the pipe, or one of the two, is over. */
export function publishPipe(source: Readable, stream: Writable, copy: Copy): PublishedPipe {
  const { succeed, fail } = open(copy);
  let over = false;
  const stop = (): void => {
    over = true;
    source.off('close', onSourceClose);
    stream.off('unpipe', onUnpipe).off('finish', onFinish).off(errorMonitor, destroyed);
  };
  const onFinish = (): void => {
    if (over) return;
    stop();
    succeed();
  };
  const destroyed = (error: Error | null): void => {
    if (over) return;
    stop();
    fail(failureOf(source) ?? error ?? closedEarly(source.readableEnded ? 'destination' : 'source', copy.bytes()));
  };
  const onSourceClose = (): void => {
    if (source.readableEnded) return;
    stop();
    fail(failureOf(source) ?? closedEarly('source', copy.bytes()));
  };
  const onUnpipe = (from: unknown): void => {
    // `pipeline` unpipes at the source's end, and ends the destination then: it is still to be seen how that goes.
    if (from === source) setImmediate(() => stream.writableEnded || stream.destroyed || source.destroyed || onFinish());
  };
  source.on('close', onSourceClose);
  // Without autoClose a stream that fails is not destroyed.
  stream.on('unpipe', onUnpipe).on('finish', onFinish).on(errorMonitor, destroyed);
  return {
    source,
    get over() {
      return over;
    },
    destroyed,
  };
}
