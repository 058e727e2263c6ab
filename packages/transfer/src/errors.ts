/** The errors of transfers: each says how many bytes had left for the destination. */
import { SyscallError, TransferError } from '@zerocopy/core-syscalls';

/** The `code` of anything thrown, or `otherwise`. */
export function codeOf(error: unknown, otherwise: string): string {
  const code = (error as { code?: unknown } | null | undefined)?.code;
  return typeof code === 'string' ? code : otherwise;
}

/** Makes any failure a {@link TransferError} that knows how many bytes had left; of one, the same with other `bytes`. */
export function transferError(error: unknown, bytes: number): TransferError {
  if (error instanceof TransferError) {
    if (error.bytes === bytes) return error;
    return new TransferError(error.message, { code: error.code, bytes, cause: error.cause ?? error });
  }
  const message = error instanceof Error ? error.message : String(error);
  return new TransferError(message, { code: codeOf(error, 'ERR_TRANSFER_FAILED'), bytes, cause: error });
}

/**
 * The error of a transfer that `signal` has aborted, as Node's own APIs make it: AbortError, ABORT_ERR, the reason as
 * its cause.
 */
export function abortError(signal: AbortSignal, bytes: number): TransferError {
  return new TransferError('The operation was aborted', { code: 'ABORT_ERR', bytes, cause: signal.reason });
}

/**
 * The kernel cannot do it, and the caller has ruled out a copy (`fallback: 'never'`). Code ERR_ZEROCOPY_UNAVAILABLE.
 */
export class KernelPathUnavailableError extends TransferError {
  /** Why the kernel cannot do it, in words. */
  readonly reason: string;

  /**
   * @param what what cannot be done, for instance 'the kernel cannot send this file'.
   * @param reason why not, in words.
   */
  constructor(what: string, reason: string) {
    super(`${what}: ${reason} (fallback is 'never')`, { code: 'ERR_ZEROCOPY_UNAVAILABLE', bytes: 0 });
    this.name = 'KernelPathUnavailableError';
    this.reason = reason;
  }
}

/** A failure as the stream that was written to tells it: that of a system call of ours in the words of Node's own write. */
export function asWriteError(error: Error): Error {
  if (!(error instanceof SyscallError)) return error;
  const { code, errno } = error;
  return Object.assign(new Error(`write ${code}`), { errno, code, syscall: 'write' });
}

/** The end of a transfer that an error is about. */
export type Side = 'source' | 'destination';

/** ECONNRESET: the stream at one end was destroyed without an error. */
export function closedEarly(side: Side, bytes: number): TransferError {
  return new TransferError(`the ${side} was closed before all bytes had been moved`, { code: 'ECONNRESET', bytes });
}

/**
 * ERR_FILE_TRUNCATED: the file was shorter than had been announced (kernel-rules: early-end).
 * @param bytes that had left.
 * @param promised bytes that had been announced.
 */
export function endedEarly(bytes: number, promised: number): TransferError {
  return new TransferError(
    `the file ended after ${bytes} of ${promised} bytes: it was truncated while it was being sent`,
    { code: 'ERR_FILE_TRUNCATED', bytes },
  );
}

/** Codes of a failed write that are about the connection, and not about the bytes. */
const CONNECTION_CODES: ReadonlySet<string> = new Set([
  'EPIPE',
  'ECONNRESET',
  'ECONNABORTED',
  'ENOTCONN',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENETDOWN',
  'EBADF',
  'ENOTSOCK',
  'ECANCELED', // libuv's answer to a write under way when its socket is closed
  'ERR_STREAM_DESTROYED',
  'ERR_SOCKET_CLOSED',
]);

/** Whether an error with this code says that the connection is gone. */
export function isConnectionCode(code: string): boolean {
  return CONNECTION_CODES.has(code);
}
