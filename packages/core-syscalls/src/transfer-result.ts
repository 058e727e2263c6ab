/** What every transfer of every package answers with. */

/** How the bytes went. 'copy' is Node's own read and write through user space. */
export type TransferMethod = 'sendfile' | 'splice' | 'copy_file_range' | 'reflink' | 'mmap' | 'direct' | 'copy';

/** How a transfer went. */
export interface TransferResult {
  /** Bytes handed to the destination. */
  bytes: number;
  /** The path the last byte took. */
  method: TransferMethod;
  /** Why it was not faster, in words; present when `method` is 'copy'. */
  fallbackReason?: string;
  /** System calls made to move the bytes; those of Node's own streams are not seen here. */
  syscalls: number;
  /** From the first attempt to the last byte, in milliseconds. */
  durationMs: number;
}

/** What a {@link TransferError} says besides its message. */
export interface TransferErrorOptions {
  /** Stable and machine-readable: a system error's code, 'ABORT_ERR', or an 'ERR_…' of this project. */
  readonly code: string;
  /** Bytes that had left for the destination. */
  readonly bytes: number;
  /** The error that the transfer failed with, if there is one. */
  readonly cause?: unknown;
}

/** A transfer that did not reach its end. */
export class TransferError extends Error {
  /** Stable and machine-readable: a system error's code, 'ABORT_ERR', or an 'ERR_…' of this project. */
  readonly code: string;
  /**
   * Bytes that had left when it failed. What Node's stream had taken but not acknowledged when its
   * connection was lost is not counted.
   */
  readonly bytes: number;
  /** The error that the transfer failed with; of an abort, the signal's reason. */
  declare readonly cause: unknown;

  /**
   * @param message in words.
   * @param options what the error says besides.
   */
  constructor(message: string, options: TransferErrorOptions) {
    super(message, { cause: options.cause });
    this.name = options.code === 'ABORT_ERR' ? 'AbortError' : 'TransferError';
    this.code = options.code;
    this.bytes = options.bytes;
  }
}
