/** What ends a transfer before its end, as one kind of error that knows how many bytes had left. */
import { TransferError } from '@zerocopy/core-syscalls';

/** The `code` of anything thrown, or `otherwise`. */
export function codeOf(error: unknown, otherwise: string): string {
  const code = (error as { code?: unknown } | null | undefined)?.code;
  return typeof code === 'string' ? code : otherwise;
}

/** Makes any failure a {@link TransferError} that knows how many bytes had left. */
export function transferError(error: unknown, bytes: number): TransferError {
  if (error instanceof TransferError && error.bytes === bytes) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new TransferError(message, { code: codeOf(error, 'ERR_TRANSFER_FAILED'), bytes, cause: error });
}

/** What `signal` says, as Node's own APIs report it: name 'AbortError', code 'ABORT_ERR', the reason as its cause. */
export function abortError(signal: AbortSignal, bytes: number): TransferError {
  return new TransferError('The operation was aborted', { code: 'ABORT_ERR', bytes, cause: signal.reason });
}

/** The kernel path cannot be taken, and the caller wants no other (`fallback: 'never'`). Code ERR_ZEROCOPY_UNAVAILABLE. */
export class KernelPathUnavailableError extends TransferError {
  /** Why it cannot be taken, in words. */
  readonly reason: string;

  /** @param what what the kernel cannot do, for instance 'the kernel cannot send this file'. */
  constructor(what: string, reason: string) {
    super(`${what}: ${reason} (fallback is 'never')`, { code: 'ERR_ZEROCOPY_UNAVAILABLE', bytes: 0 });
    this.name = 'KernelPathUnavailableError';
    this.reason = reason;
  }
}

/** Which end of a transfer something is said of. */
export type Side = 'source' | 'destination';

/** ECONNRESET: the stream at one end was closed without an error of its own that would say why. */
export function closedEarly(side: Side, bytes: number): TransferError {
  return new TransferError(`the ${side} was closed before all bytes had been moved`, { code: 'ECONNRESET', bytes });
}

/** ERR_FILE_TRUNCATED: the file was shorter than what had been promised of it (kernel-rules: early-end). */
export function endedEarly(bytes: number, promised: number): TransferError {
  return new TransferError(
    `the file ended after ${bytes} of ${promised} bytes: it was truncated while it was being sent`,
    { code: 'ERR_FILE_TRUNCATED', bytes },
  );
}

/** Codes of a failed write that speak of the connection, and not of what was to be written. */
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
