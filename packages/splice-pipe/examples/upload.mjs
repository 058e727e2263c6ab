import { randomUUID } from 'node:crypto';
import http from 'node:http';
import { join } from 'node:path';
import { pipeline } from 'node:stream';
import { createSpliceWriteStream } from '@zerocopy/splice-pipe';

const directory = process.argv[2] ?? '.';

const server = http.createServer((request, response) => {
  const name = randomUUID();
  pipeline(request, createSpliceWriteStream(join(directory, name)), (error) => {
    response.writeHead(error ? 500 : 201).end(error ? '' : name);
  });
});

server.listen(Number(process.env.PORT ?? 8080));
