import { createReadStream } from 'node:fs';
import http from 'node:http';
import { pipeline } from '@zerocopy/pipeline';

const path = process.argv[2] ?? 'video.mp4';

const server = http.createServer((request, response) => {
  pipeline(createReadStream(path), response, (error) => {
    if (error) console.error(`${request.url}: ${error.code}`);
  });
});

server.listen(Number(process.env.PORT ?? 8080));
