/** `npm start -- --serve PATH --port N`: keeps serving one file, until Ctrl-C. */
import { statSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream';
import { createSendfileStream } from '@zerocopy/sendfile-stream';

export function serve(path: string, port: number): void {
  if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true) {
    console.error(`${path} is not a file`);
    process.exitCode = 2;
    return;
  }
  const server = createServer((request, response) => {
    const stream = createSendfileStream(path);
    response.writeHead(200, { 'Content-Length': statSync(path).size, 'Content-Type': 'application/octet-stream' });
    pipeline(stream, response, (error) => {
      const path =
        stream.fallbackReason === undefined ? `${stream.method}` : `${stream.method}: ${stream.fallbackReason}`;
      console.log(
        `${request.method} ${request.url}: ${stream.bytesSent} bytes, ${path}${error ? `, ${error.message}` : ''}`,
      );
    });
  });
  server.on('error', (error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
  server.listen(port, () => {
    console.log(`http://localhost:${(server.address() as AddressInfo).port}/ serves ${path}. Ctrl-C ends it.`);
  });
  const stop = (): void => {
    server.close();
    server.closeAllConnections();
  };
  process.once('SIGINT', stop).once('SIGTERM', stop);
}
