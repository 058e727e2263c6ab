/** How the bytes of a stream go, and how that is told: `method`, `fallbackReason`, and once on the tracing channel. */
import type { Readable, Writable } from 'node:stream';
import { closedEarly, MethodRecord, TransferScope } from '@zerocopy/transfer';

/** See above. */
export class StreamRecord {
  readonly record: MethodRecord;
  readonly #scope: TransferScope;
  #startedAt = 0;

  /** @param refuses as of {@link MethodRecord}. @param path what the stream is about, for subscribers. */
  constructor(stream: Readable | Writable, kind: 'read' | 'write', path: unknown, refuses: string | undefined) {
    this.record = new MethodRecord(stream, refuses);
    this.#scope = new TransferScope(
      kind === 'read'
        ? { source: 'file', destination: 'stream', detail: { source: path } }
        : { source: 'stream', destination: 'file', detail: { destination: path } },
    );
  }

  /** The first bytes are asked for, or written. Idempotent. */
  start(): void {
    if (this.#startedAt !== 0) return;
    this.#startedAt = performance.now();
    this.#scope.start();
  }

  /** It has ended: as it should if `complete`. Only the first end is published, and none of a stream that was not used. */
  end(complete: boolean, error: Error | null, bytes: number): void {
    if (this.#startedAt === 0) return;
    const { method = 'copy', fallbackReason } = this.record;
    const result = { bytes, method, syscalls: 0, durationMs: performance.now() - this.#startedAt };
    const told = fallbackReason === undefined ? result : Object.assign(result, { fallbackReason });
    if (complete && error === null) this.#scope.succeed(told);
    else this.#scope.fail(error ?? closedEarly('destination', bytes), told);
  }
}
