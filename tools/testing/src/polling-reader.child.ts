/** Reads a connection to its end without ever sleeping, and lets the kernel discard the bytes (MSG_TRUNC, tcp(7)). */
import { once } from 'node:events';
import { connect } from 'node:net';
import koffi from 'koffi';

const EAGAIN = 11;
const MSG_TRUNC = 0x20;
const MSG_DONTWAIT = 0x40;
const SIZE = 1024 * 1024;

const recv = koffi.load(null).func('intptr recv(int fd, void *buffer, size_t length, int flags)');
// Paused before it connects: otherwise libuv would begin to read.
const socket = connect(Number(process.argv[2]), '127.0.0.1').pause();
await once(socket, 'connect');
const { fd } = (socket as unknown as { readonly _handle: { readonly fd: number } })._handle;
const buffer = Buffer.alloc(SIZE);
for (;;) {
  const bytes = recv(fd, buffer, SIZE, MSG_DONTWAIT | MSG_TRUNC) as number;
  if (bytes === 0) break;
  if (bytes < 0 && koffi.errno() !== EAGAIN) throw new Error(`recv: errno ${koffi.errno()}`);
}
process.exit();
