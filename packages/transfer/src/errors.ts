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
