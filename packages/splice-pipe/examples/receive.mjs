import { randomUUID } from 'node:crypto';
import http from 'node:http';
import { join } from 'node:path';
import { receiveFile } from '@zerocopy/splice-pipe';

const [directory = '.', maxBytes = '104857600'] = process.argv.slice(2);

const server = http.createServer(async (request, response) => {
  const name = randomUUID();
  try {
    await receiveFile(request, join(directory, name), { maxBytes: Number(maxBytes), atomic: true });
    response.writeHead(201).end(name);
  } catch (error) {
    const status = error.code === 'ERR_BODY_TOO_LARGE' ? 413 : 500;
    response.writeHead(status).end(); // Node reads the rest of the body, so that the client gets to the answer
  }
});

server.listen(Number(process.env.PORT ?? 8080));
