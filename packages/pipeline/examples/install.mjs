import http from 'node:http';
import { install, stats } from '@zerocopy/pipeline';

const uninstall = install({
  kinds: ['file->http', 'body->http', 'body->file'],
  minBytes: { 'file->http': 256 * 1024 },
  filter: (_source, destination) => destination.req?.url !== '/legacy',
});

const server = http.createServer(async (request, response) => {
  const { createReadStream } = await import('node:fs');
  if (request.url === '/stats') response.end(JSON.stringify(stats()));
  else createReadStream(process.argv[2] ?? 'video.mp4').pipe(response);
});

server.listen(Number(process.env.PORT ?? 8080));
server.on('close', uninstall);
