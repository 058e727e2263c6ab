/**
 * The kernel descriptor under Node's streams. `_handle.fd` is not documented: it is read defensively, -1 where it is
 * not there.
 */
import type { OutgoingMessage } from 'node:http';
import { Socket } from 'node:net';

/**
 * node:http, loaded when the first stream is looked at: a program that serves HTTP has it, and no other pays for it.
 */
let http: typeof import('node:http') | undefined;

/** The module node:http. */
export function nodeHttp(): typeof import('node:http') {
  http ??= process.getBuiltinModule('node:http');
  return http;
}

/** Whether `thing` is an HTTP/1 response of a server, or request of a client. */
export function isOutgoingMessage(thing: unknown): thing is OutgoingMessage {
  return thing instanceof nodeHttp().OutgoingMessage;
}

/** Whether `thing` is a net.Socket: TCP, a unix socket, a pipe of a child process. */
export function isSocket(thing: unknown): thing is Socket {
  return thing instanceof Socket;
}

/**
 * Whether the socket's bytes are encrypted in user space (TLS): then what its descriptor carries is not what it is
 * given.
 */
export function isEncrypted(socket: Socket): boolean {
  return (socket as unknown as { encrypted?: boolean }).encrypted === true;
}

/**
 * The descriptor under a plain socket or pipe, at this moment; -1 if it has none (not connected, closed, TLS).
 * The number may belong to another file on the next turn of the event loop: ask again before every call.
 */
export function socketDescriptor(socket: Socket): number {
  if (isEncrypted(socket)) return -1;
  const fd = (socket as unknown as { _handle?: { fd?: unknown } | null })._handle?.fd;
  return typeof fd === 'number' ? fd : -1;
}

/**
 * The socket an HTTP message goes out on, also while it is queued behind earlier responses; null if it has none yet.
 */
export function socketOfMessage(message: OutgoingMessage): Socket | null {
  return message.socket ?? (message as unknown as { req?: { socket?: Socket | null } }).req?.socket ?? null;
}
