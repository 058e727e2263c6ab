import http from 'node:http';
import { pipeline } from 'node:stream';
import { createSendfileStream } from '@zerocopy/sendfile-stream';

const file = process.argv[2] ?? 'download.bin';

const server = http.createServer((_request, response) => {
  response.setHeader('Content-Type', 'application/octet-stream');
  pipeline(createSendfileStream(file), response, (error) => {
    if (error) response.destroy();
  });
});

server.listen(Number(process.env.PORT ?? 8080));
