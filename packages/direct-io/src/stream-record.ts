/** How the bytes of a stream go, and how that is told: `method`, `fallbackReason`, and once on the tracing channel. */
import type { Readable, Writable } from 'node:stream';
import { MethodRecord, StreamScope } from '@zerocopy/transfer';

/** See above. */
export class StreamRecord {
  readonly record: MethodRecord;
  readonly #scope: StreamScope;

  /** @param refuses as of {@link MethodRecord}. @param path what the stream is about, for subscribers. */
  constructor(stream: Readable | Writable, kind: 'read' | 'write', path: unknown, refuses: string | undefined) {
    this.record = new MethodRecord(stream, refuses);
    this.#scope = new StreamScope(stream, kind, path);
  }

  /** Bytes are asked for, or written. @param bytes so far. @param source as of {@link StreamScope.start}. */
  start(bytes: number, source?: unknown): void {
    this.#scope.start(bytes, source);
  }

  /** It has ended: as it should if `complete`. @param lost bytes among those that no destination has. */
  end(complete: boolean, error: Error | null, bytes: number, lost = 0): void {
    const { method, fallbackReason } = this.record;
    this.#scope.end(complete, error, { bytes, method, fallbackReason }, lost);
  }
}
