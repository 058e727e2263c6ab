/** A program that knows nothing of these packages, in a test: a file into a response by `pipe`. */
const { once } = require('node:events');
const { createReadStream, mkdtempSync, rmSync, writeFileSync } = require('node:fs');
const http = require('node:http');
const { tmpdir } = require('node:os');
const { join } = require('node:path');

const SIZE = 5_000_000; // more than the buffers of a socket hold

/** @returns how many pipes of a file into a message have gone beneath Node's, by `stats`, or throws. */
exports.piped = async (stats) => {
  const directory = mkdtempSync(join(tmpdir(), 'zerocopy-runner-'));
  const path = join(directory, 'file');
  writeFileSync(path, Buffer.alloc(SIZE, 7));
  const before = stats().kinds['file->http'] ?? 0;
  const server = http.createServer((_request, response) => void createReadStream(path).pipe(response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const request = http.get({ port: server.address().port, agent: false });
  const [response] = await once(request, 'response');
  let bytes = 0;
  for await (const chunk of response) bytes += chunk.length;
  server.close();
  rmSync(directory, { recursive: true });
  if (bytes !== SIZE) throw new Error(`${bytes} bytes came`);
  return stats().kinds['file->http'] - before;
};
