/** Sends a file to whoever connects, and ends the connection: one contestant. Talks to its parent by messages. */
import { createReadStream, openSync, statSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream';
import { constants, descriptorOf, syscalls } from '@zerocopy/core-syscalls';
import { createMmapReadStream } from '@zerocopy/mmap-buffer';
import { createSendfileStream, sendFile } from '@zerocopy/sendfile-stream';
import { type Account, followTransfers } from './http-contestants.js';
import { answerReports, tell } from './reporting.js';

const [name = '', directory = ''] = process.argv.slice(2);
const account: Account = { method: 'copy', syscalls: 0 };
const ignore = (): void => {};

/** The floor: the bare loop. */
function bareLoop(socket: Socket, path: string): void {
  const file = openSync(path, 'r');
  const size = statSync(path).size;
  const bytes = Buffer.alloc(16 * 1024);
  const send = (from: number): void => {
    let position = from;
    for (let calls = 0; calls < 8 && position < size; calls++) {
      const fd = descriptorOf(socket);
      if (fd === null) return;
      const sent = syscalls.sendfile(fd, file, position, Math.min(size - position, 1024 * 1024));
      if (sent === -constants.EAGAIN) {
        const read = syscalls.pread(file, bytes, Math.min(bytes.length, size - position), position);
        socket.write(bytes.subarray(0, read), () => send(position + read));
        return;
      }
      if (sent <= 0) return;
      position += sent;
    }
    if (position < size) setImmediate(send, position);
    else {
      syscalls.close(file);
      socket.end();
    }
  };
  send(0);
}

const ways: Readonly<Record<string, (socket: Socket, path: string) => void>> = {
  node: (socket, path) => pipeline(createReadStream(path), socket, ignore),
  zerocopy: (socket, path) => pipeline(createSendfileStream(path), socket, ignore),
  'zerocopy-disabled': (socket, path) => pipeline(createSendfileStream(path), socket, ignore),
  'zerocopy-sendFile': (socket, path) => {
    sendFile(socket, path).then(
      () => socket.end(),
      () => socket.destroy(),
    );
  },
  'zerocopy-mmap': (socket, path) => pipeline(createMmapReadStream(path), socket, ignore),
  floor: bareLoop,
};
const send = ways[name];
if (send === undefined) throw new RangeError(`no way to send a file is called '${name}'`);

followTransfers(account);
answerReports(() => account);
const server = createServer((socket) => {
  socket.on('error', ignore);
  socket.once('data', (line) => send(socket, join(directory, line.toString('latin1').trim())));
});
server.listen(0, '127.0.0.1', () => tell({ port: (server.address() as AddressInfo).port }));
