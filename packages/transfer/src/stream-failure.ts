/** Why a stream has failed. */

type MaybeError = Error | null | undefined;

/**
 * Whether it is libuv's answer to a write that was under way when its socket was closed: an echo of the closing, and no
 * reason for it.
 */
export function isCancelledWrite(error: MaybeError): boolean {
  const { code, syscall } = (error ?? {}) as NodeJS.ErrnoException;
  return code === 'ECANCELED' && syscall === 'write';
}

/**
 * The error with which a stream has failed, or was destroyed; null: with none, or there is no stream. To be asked in place of `errored`, where Node
 * (since 22) notes what the closing of a socket has done to its own writes: see {@link isCancelledWrite}.
 */
export function failureOf(stream: { readonly errored?: MaybeError } | undefined): Error | null {
  const errored = stream?.errored ?? null;
  return isCancelledWrite(errored) ? null : errored;
}
