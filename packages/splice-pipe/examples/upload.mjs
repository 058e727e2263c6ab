import { randomUUID } from 'node:crypto';
import { rename, rm } from 'node:fs/promises';
import http from 'node:http';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createSpliceWriteStream } from '@zerocopy/splice-pipe';

const [directory = '.', maxBytes = '104857600'] = process.argv.slice(2);

const server = http.createServer(async (request, response) => {
  const length = Number(request.headers['content-length']); // NaN for a chunked body
  if (!(length <= Number(maxBytes))) {
    response.writeHead(Number.isNaN(length) ? 411 : 413, { Connection: 'close' }).end();
    return;
  }
  const name = randomUUID();
  const temporary = join(directory, `.${name}.tmp`);
  try {
    await pipeline(request, createSpliceWriteStream(temporary));
    await rename(temporary, join(directory, name)); // a file with its name is whole
    response.writeHead(201).end(name);
  } catch {
    await rm(temporary, { force: true });
    response.writeHead(500).end(); // nobody hears it where the client has gone away
  }
});

server.listen(Number(process.env.PORT ?? 8080));
