import { once } from 'node:events';
import http from 'node:http';
import { pipeline } from 'node:stream';
import { createSendfileStream } from '@zerocopy/sendfile-stream';

const file = process.argv[2] ?? 'download.bin';
const CLIENT_LEFT = new Set(['ECONNRESET', 'EPIPE', 'ERR_STREAM_PREMATURE_CLOSE']);

const server = http.createServer(async (_request, response) => {
  const source = createSendfileStream(file);
  try {
    await once(source, 'open'); // before anything is sent, so that there can be another answer
  } catch (error) {
    response.writeHead(error.code === 'ENOENT' ? 404 : 500).end();
    return;
  }
  response.setHeader('Content-Type', 'application/octet-stream');
  pipeline(source, response, (error) => {
    if (error && !CLIENT_LEFT.has(error.code)) console.error(error);
  });
});

server.listen(Number(process.env.PORT ?? 8080));
