/** `diagnostics_channel.tracingChannel('zerocopy:transfer')`: start, end, asyncStart, asyncEnd and error of every transfer. */
import type { TransferResult } from './transfer-result.js';

export const TRANSFER_CHANNEL = 'zerocopy:transfer';

/** What subscribers receive; the same object in every event of one transfer. */
export interface TransferTrace {
  /** Bytes asked for, if that is known. */
  readonly length: number | undefined;
  /** What the caller says of it, for instance `{ source: path }`. */
  readonly detail: Readonly<Record<string, unknown>> | undefined;
  result?: TransferResult;
  /** Of `result.syscalls`: those made on other threads, since the bytes were not in memory. */
  offThread?: number;
  error?: unknown;
}
