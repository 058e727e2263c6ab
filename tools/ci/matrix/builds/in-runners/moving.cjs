/** What each test runner's test does: a file by the kernel, under a lease, into a socket. */
const { once } = require('node:events');
const { mkdtempSync, rmSync, writeFileSync } = require('node:fs');
const net = require('node:net');
const { tmpdir } = require('node:os');
const { join } = require('node:path');

const SIZE = 5_000_000; // more than the buffers of a socket hold

/** @returns how the bytes went, or throws. */
exports.moved = async (sendFile) => {
  const directory = mkdtempSync(join(tmpdir(), 'zerocopy-runner-'));
  const path = join(directory, 'file');
  writeFileSync(path, Buffer.alloc(SIZE, 7));
  let result;
  const server = net.createServer(async (socket) => {
    result = await sendFile(socket, path, { lease: true }).catch((error) => error);
    socket.end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = net.connect(server.address().port, '127.0.0.1');
  let bytes = 0;
  for await (const chunk of client) bytes += chunk.length;
  server.close();
  rmSync(directory, { recursive: true });
  if (result instanceof Error) throw result;
  if (bytes !== SIZE) throw new Error(`${bytes} bytes came`);
  return result.method;
};
