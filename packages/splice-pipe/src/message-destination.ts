/** HTTP messages as destinations: what their framing lets in beside Node's own writes. */
import type { OutgoingMessage } from 'node:http';
import type { Socket } from 'node:net';
import {
  bodyFraming,
  countsItsBody,
  isSocket,
  isWritePatched,
  type SlotDestination,
  socketOfMessage,
} from '@zerocopy/transfer';
import { refusalOfDestination } from './destination.js';

/** Bytes of its body that have gone beside Node, by message: Node counts none. */
const moved = new WeakMap<OutgoingMessage, number>();

/** Why the kernel cannot write `message`'s body, or undefined. One that is still connecting is looked at again later. */
export function refusalOfMessage(message: OutgoingMessage): string | undefined {
  if (isWritePatched(message)) return "the HTTP message's write methods have been replaced (compression middleware?)";
  if (countsItsBody(message)) return 'the HTTP message counts its own body (strictContentLength)';
  if (message.writableEnded || message.destroyed) return 'the HTTP message has ended';
  const { kind } = bodyFraming(message);
  if (kind === 'none') return 'the HTTP message has no body';
  if (kind === 'chunked' || kind === 'undecided') return 'the HTTP message has no Content-Length (a chunked body)';
  const socket = socketOfMessage(message);
  if (!isSocket(socket)) return 'the HTTP message is not sent on a socket';
  return refusalOfDestination(socket);
}

/** The slot in which the body goes. To be asked for where {@link refusalOfMessage} has no objection. */
export function slotOfMessage(message: OutgoingMessage): SlotDestination {
  return { stream: message, socket: socketOfMessage(message) as Socket };
}

/**
 * Bytes that the Content-Length of `message` leaves room for; Infinity where it has none. What its owner has written to it
 * before is not known to Node, and not subtracted.
 */
export function roomIn(message: OutgoingMessage): number {
  const framing = bodyFraming(message);
  if (framing.kind !== 'length') return Number.POSITIVE_INFINITY;
  return Math.max(0, framing.bytes - (moved.get(message) ?? 0));
}

/** Counts bytes of the body that have gone by a transfer. */
export function countBody(message: OutgoingMessage, bytes: number): void {
  moved.set(message, (moved.get(message) ?? 0) + bytes);
}
