/** `diagnostics_channel.tracingChannel('zerocopy:transfer')`: start, end, asyncStart, asyncEnd and error of every transfer. */
import type { TransferMethod, TransferResult } from './transfer-result.js';

/** The name of the tracing channel. */
export const TRANSFER_CHANNEL = 'zerocopy:transfer';

/** What is at one end of a transfer. */
export type EndKind = 'file' | 'socket' | 'pipe' | 'http' | 'stdio' | 'stream';

/** What subscribers receive; the same object in every event of one transfer. */
export interface TransferTrace {
  /** Bytes asked for, if that is known. */
  readonly length: number | undefined;
  /** What the bytes come from. */
  readonly source?: EndKind | undefined;
  /** What they go to. */
  readonly destination?: EndKind | undefined;
  /** What the caller says of it, for instance `{ source: path }`. */
  readonly detail: Readonly<Record<string, unknown>> | undefined;
  /** Set when it has ended, also when it failed: bytes that had left for the destination by then. */
  bytes?: number;
  /** Set when it has ended, also when it failed: the way that the last byte took. */
  method?: TransferMethod;
  /** Set with `method` where it is 'copy': why it was not faster, in words. */
  fallbackReason?: string;
  /** Set when it has ended without a failure. */
  result?: TransferResult;
  /** Of `result.syscalls`: those made on other threads, since the bytes were not in memory. */
  offThread?: number;
  /** Why it was given back to Node's own stream at `bytes`, which moves the rest; in words. It is no failure. */
  handedBack?: string;
  /** Why it failed. */
  error?: unknown;
}
