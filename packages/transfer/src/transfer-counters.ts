/** How many transfers have ended in this thread, and how many bytes went in which way. */
import type { TransferMethod, TransferResult } from '@zerocopy/core-syscalls';

/** What {@link TransferCounters.read} answers: a copy, which does not change afterwards. */
export interface TransferCounts {
  /** Transfers that have ended, in whatever way. */
  readonly transfers: number;
  /** Of those: the ones that failed. */
  readonly failed: number;
  /** Transfers that have ended, by the method that moved the last byte. */
  readonly methods: Readonly<Partial<Record<TransferMethod, number>>>;
  /** Bytes moved, by the method that moved the last of a transfer. */
  readonly bytes: Readonly<Partial<Record<TransferMethod, number>>>;
  /** Transfers that were copied through user space, by the reason. */
  readonly copied: Readonly<Record<string, number>>;
}

/** Reasons are made of a bounded set of sentences, with names in them: beyond this many they are counted together. */
const REASONS_MAX = 100;
const OTHER_REASONS = 'other reasons';

/** The counters themselves: there is one of them in each thread. */
export class TransferCounters {
  #transfers = 0;
  #failed = 0;
  readonly #methods = new Map<TransferMethod, number>();
  readonly #bytes = new Map<TransferMethod, number>();
  readonly #copied = new Map<string, number>();

  /** Counts a transfer that has ended without a failure. */
  ended({ bytes, method, fallbackReason }: TransferResult): void {
    this.#transfers++;
    this.#methods.set(method, (this.#methods.get(method) ?? 0) + 1);
    this.#bytes.set(method, (this.#bytes.get(method) ?? 0) + bytes);
    if (fallbackReason === undefined) return;
    const known = this.#copied.has(fallbackReason) || this.#copied.size < REASONS_MAX;
    const reason = known ? fallbackReason : OTHER_REASONS;
    this.#copied.set(reason, (this.#copied.get(reason) ?? 0) + 1);
  }

  /** Counts a transfer that has failed, and what it had moved by then. */
  failed(result: TransferResult): void {
    this.#failed++;
    this.ended(result);
  }

  /** What has been counted so far. */
  read(): TransferCounts {
    return {
      transfers: this.#transfers,
      failed: this.#failed,
      methods: Object.fromEntries(this.#methods),
      bytes: Object.fromEntries(this.#bytes),
      copied: Object.fromEntries(this.#copied),
    };
  }
}
