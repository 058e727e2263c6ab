/**
 * Responses that wait for those before them on their connection (pipelined requests). Node gives such a one its socket when its
 * turn has come; if the connection closes before, it gets no event at all, and what is written to it is kept for ever.
 */
import type { OutgoingMessage } from 'node:http';
import { addSharedListener, isSocket, removeSharedListener } from '@zerocopy/transfer';

const nothing = (): void => {};

/**
 * Calls back when the connection of `message`, if that is a response that waits for its turn, has closed before that came: at
 * once if it has already. @returns ends that. Idempotent.
 */
export function whenTurnIsLost(message: unknown, callback: () => void): () => void {
  const { socket, req } = message as Partial<OutgoingMessage> & { readonly req?: { readonly socket?: unknown } };
  if (socket !== null || req === undefined) return nothing;
  const connection = req.socket;
  if (!isSocket(connection)) return nothing;
  const onClose = (): void => {
    const response = message as OutgoingMessage;
    if (response.socket === null && !response.writableFinished) callback();
  };
  if (connection.destroyed) {
    onClose();
    return nothing;
  }
  addSharedListener(connection, 'close', onClose);
  return () => removeSharedListener(connection, 'close', onClose);
}
