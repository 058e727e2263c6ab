/** Where bytes can go without passing through user space, and why not elsewhere. */
import type { OutgoingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { WriteStream } from 'node:tty';
import {
  countsItsBody,
  hasPlainQueue,
  isAwaitingSocket,
  isEncrypted,
  isEncryptedByNode,
  isOutgoingMessage,
  isSocket,
  isWritePatched,
  socketDescriptor,
  socketOfMessage,
} from '@zerocopy/transfer';

/** A stream whose bytes leave, in order, on a socket. */
export interface SocketDestination {
  readonly stream: Socket | OutgoingMessage;
  readonly socket: Socket;
  /** Why the kernel cannot send on it, so that what is sent in the same order has to be copied; undefined: it can. */
  readonly copied?: string;
}

/** stdout or stderr, redirected to a file: without a queue, at the file's own position. */
export interface FileDestination {
  readonly file: number;
}

export type Resolution =
  | SocketDestination
  | FileDestination
  | { readonly refused: string }
  /** An HTTP request whose agent has not given it a connection yet: ask again at its 'socket' event. */
  | { readonly pending: OutgoingMessage };

const ENCRYPTED = 'the connection is encrypted (TLS)';

/** The socket behind `stream`, if its place in the queue may be taken in the stream's stead right now. */
export function resolveDestination(stream: unknown): Resolution {
  if (isOutgoingMessage(stream)) return resolveMessage(stream);
  if (!isSocket(stream)) {
    return isRedirectedStdio(stream)
      ? { file: stream.fd }
      : { refused: `the destination is not a socket but ${describe(stream)}` };
  }
  return resolveSocket(stream, stream);
}

function isRedirectedStdio(stream: unknown): stream is { fd: number } {
  const fd = (stream as { fd?: unknown } | null | undefined)?.fd;
  return (fd === 1 && stream === process.stdout) || (fd === 2 && stream === process.stderr);
}

function resolveMessage(message: OutgoingMessage): Resolution {
  if (isWritePatched(message))
    return { refused: 'write() of the HTTP message has been replaced (compression middleware?)' };
  if (countsItsBody(message)) return { refused: 'the HTTP message counts its own body (strictContentLength)' };
  if (message.writableEnded || message.destroyed) return { refused: 'the HTTP message has ended' };
  const socket = socketOfMessage(message);
  if (socket === null) {
    return isAwaitingSocket(message) ? { pending: message } : { refused: 'the HTTP message has no socket' };
  }
  if (!isSocket(socket)) return { refused: 'the HTTP message is not sent on a socket' };
  return resolveSocket(socket, message);
}

function resolveSocket(socket: Socket, stream: Socket | OutgoingMessage): Resolution {
  const isCopied = isEncrypted(socket);
  const refused = isCopied && !isEncryptedByNode(socket) ? ENCRYPTED : refusalOfSocket(socket, stream);
  if (refused !== undefined) return { refused: isCopied ? ENCRYPTED : refused };
  return isCopied ? { stream, socket, copied: ENCRYPTED } : { stream, socket };
}

function refusalOfSocket(socket: Socket, stream: Socket | OutgoingMessage): string | undefined {
  if ((socket as Partial<WriteStream>).isTTY === true) return 'the destination is a terminal';
  if (socket.destroyed || (stream === socket && socket.writableEnded)) return 'the socket has ended';
  // Its end would uncork it, and comes after the file: what is sent meanwhile has to wait in Node's buffers.
  if (stream === socket && socket.writableCorked > 0) return 'the socket is corked';
  if (!hasPlainQueue(socket)) return "the socket's write methods have been replaced";
  const hasDescriptor = socket.connecting || isEncrypted(socket) || socketDescriptor(socket) >= 0;
  return hasDescriptor ? undefined : 'the socket has no descriptor';
}

function describe(stream: unknown): string {
  const name = (stream as { constructor?: { name?: unknown } } | null | undefined)?.constructor?.name;
  return typeof name === 'string' && name !== '' ? `a ${name}` : String(stream);
}
