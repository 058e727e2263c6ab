/** Files that are nowhere but in memory: mock-fs, and memfs in the place of node:fs. Run with ZEROCOPY_DISABLE=all. */
const assert = require('node:assert/strict');
const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const { copyFile } = require('@zerocopy/file-copy');
const { mapFile } = require('@zerocopy/mmap-buffer');
const { install } = require('@zerocopy/pipeline');
const { createSendfileStream, sendFile } = require('@zerocopy/sendfile-stream');

const CONTENT = Buffer.from('what there is in memory only');
const [, , library, path] = process.argv;

async function received(serve) {
  const server = net.createServer((socket) => void serve(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const chunks = [];
  for await (const chunk of net.connect(server.address().port, '127.0.0.1')) chunks.push(chunk);
  server.close();
  return Buffer.concat(chunks);
}

async function main() {
  // The file is there for real as well, with other bytes.
  let streams = fs;
  let undo;
  if (library === 'mock-fs') {
    const mock = require('mock-fs');
    mock({ [path]: CONTENT });
    undo = mock.restore;
  } else {
    const { fs: memory, vol } = require('memfs');
    vol.fromJSON({ [path]: String(CONTENT) });
    streams = memory;
    undo = () => {};
  }
  const uninstall = install();
  const piped = await received((socket) => streams.createReadStream(path).pipe(socket));
  const sent =
    library === 'memfs' ? CONTENT : await received((socket) => sendFile(socket, path).then(() => socket.end()));
  const streamed = await received((socket) => createSendfileStream(path, { fs: streams }).pipe(socket));
  let [copied, mapped] = [CONTENT, CONTENT];
  if (library === 'mock-fs') {
    await copyFile(path, `${path}.copied`);
    copied = fs.readFileSync(`${path}.copied`);
    const file = await mapFile(path);
    mapped = Buffer.from(file.buffer);
    await file.close();
  }
  uninstall();
  undo();
  for (const [way, bytes] of Object.entries({ piped, sent, streamed, copied, mapped })) {
    assert.equal(String(bytes), String(CONTENT), way);
  }
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exitCode = 1;
});
