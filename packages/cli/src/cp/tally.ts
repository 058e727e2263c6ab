/** What a run of `cp` has done so far. */
import type { TransferMethod, TransferResult } from '@zerocopy/core-syscalls';

export class Tally {
  files = 0;
  directories = 0;
  /** Symbolic links, hard links, FIFOs, sockets and devices. */
  others = 0;
  skipped = 0;
  bytes = 0;
  readonly methods: Map<TransferMethod, { files: number; bytes: number }> = new Map();
  /** Why the last file that was copied through memory was. */
  reason: string | undefined;
  readonly errors: string[] = [];
  readonly startedAt: number = performance.now();

  add({ method, bytes, fallbackReason }: Pick<TransferResult, 'method' | 'bytes' | 'fallbackReason'>): void {
    this.files++;
    this.bytes += bytes;
    const known = this.methods.get(method);
    if (known === undefined) this.methods.set(method, { files: 1, bytes });
    else {
      known.files++;
      known.bytes += bytes;
    }
    this.reason = fallbackReason ?? this.reason;
  }

  /** The method that has moved the most. */
  get method(): string | undefined {
    const all = [...this.methods].sort(([, a], [, b]) => b.bytes - a.bytes).map(([method]) => method);
    return all.length === 0 ? undefined : all.join(', ');
  }
}
