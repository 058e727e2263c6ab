/** Where bytes can go without passing through user space, and why not elsewhere. */
import type { OutgoingMessage } from 'node:http';
import type { Socket } from 'node:net';
import {
  type BodyFraming,
  bodyFraming,
  countsItsBody,
  hasPlainQueue,
  isEncrypted,
  isOutgoingMessage,
  isSocket,
  isWritePatched,
  socketDescriptor,
  socketOfMessage,
} from '@zerocopy/core-syscalls/internals';

/** A stream whose bytes leave, in order, on a plain socket. */
export interface SocketDestination {
  readonly stream: Socket | OutgoingMessage;
  readonly socket: Socket;
}

export type Resolution = SocketDestination | { readonly refused: string };

/** The socket behind `stream`, if the kernel may write to it in the stream's stead right now. */
export function resolveDestination(stream: unknown): Resolution {
  if (isOutgoingMessage(stream)) return resolveMessage(stream);
  if (!isSocket(stream)) return { refused: `the destination is not a socket but ${describe(stream)}` };
  return resolveSocket(stream, stream);
}

function resolveMessage(message: OutgoingMessage): Resolution {
  if (isWritePatched(message))
    return { refused: 'write() of the HTTP message has been replaced (compression middleware?)' };
  if (countsItsBody(message)) return { refused: 'the HTTP message counts its own body (strictContentLength)' };
  if (message.writableEnded || message.destroyed) return { refused: 'the HTTP message has ended' };
  const socket = socketOfMessage(message);
  if (socket === null) return { refused: 'the HTTP message has no socket yet' };
  if (!isSocket(socket)) return { refused: 'the HTTP message is not sent on a socket' };
  return resolveSocket(socket, message);
}

function resolveSocket(socket: Socket, stream: Socket | OutgoingMessage): Resolution {
  if (isEncrypted(socket)) return { refused: 'the connection is encrypted (TLS)' };
  if (socket.destroyed || (stream === socket && socket.writableEnded)) return { refused: 'the socket has ended' };
  if (!hasPlainQueue(socket)) return { refused: "the socket's write methods have been replaced" };
  if (!socket.connecting && socketDescriptor(socket) < 0) return { refused: 'the socket has no descriptor' };
  return { stream, socket };
}

function describe(stream: unknown): string {
  const name = (stream as { constructor?: { name?: unknown } } | null | undefined)?.constructor?.name;
  return typeof name === 'string' && name !== '' ? `a ${name}` : String(stream);
}

/** The framing of an HTTP message's body; a bare socket has none. */
export function framingOf(destination: SocketDestination): BodyFraming {
  return isOutgoingMessage(destination.stream) ? bodyFraming(destination.stream) : { kind: 'until-close' };
}
