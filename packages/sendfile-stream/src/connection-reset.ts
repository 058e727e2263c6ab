/** A connection that must not look as if it had been ended: its peer gets a reset in place of the ordinary end. */
import { closeByReset, isEncrypted, isOutgoingMessage, isSocket, socketOfMessage } from '@zerocopy/transfer';
import { framingOfMessage } from './message-body.js';

/**
 * From now on, whoever closes the connection of `stream` resets it, if the end of the connection is all that would tell its
 * peer of the end of the bytes: a bare TCP socket, or a body until close. A message with a length, or in chunks, that ends
 * early is known to be broken. Sockets of other families have no reset.
 */
export function resetWhenClosed(stream: unknown): void {
  const framing = framingOfMessage(stream);
  if (framing !== undefined && framing.kind !== 'until-close' && framing.kind !== 'undecided') return;
  const socket = isOutgoingMessage(stream) ? socketOfMessage(stream) : stream;
  if (!isSocket(socket) || socket.destroyed || isEncrypted(socket) || socket.remoteFamily === undefined) return;
  closeByReset(socket);
}
