/** An upload endpoint in a process of its own: one contestant. PUT /name writes that file of the directory. */
import { createWriteStream } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream';
import { createSpliceWriteStream, receiveFile } from '@zerocopy/splice-pipe';
import { answerReports, tell } from './reporting.js';

const [name = '', directory = ''] = process.argv.slice(2);
let method = 'copy';
type Stored = (error?: Error | null) => void;
const ways: Readonly<Record<string, (request: IncomingMessage, path: string, stored: Stored) => void>> = {
  node: (request, path, stored) => pipeline(request, createWriteStream(path), stored),
  zerocopy(request, path, stored) {
    const stream = createSpliceWriteStream(path);
    stream.once('close', () => {
      method = stream.method ?? method;
    });
    pipeline(request, stream, stored);
  },
  'zerocopy-receive'(request, path, stored) {
    receiveFile(request, path).then((result) => {
      method = result.method;
      stored();
    }, stored);
  },
};
const store = ways[name];
if (store === undefined) throw new RangeError(`no way to store an upload is called '${name}'`);

answerReports(() => ({ method }));

const server = createServer((request, response) => {
  store(request, join(directory, request.url as string), (error) => {
    response.writeHead(error ? 500 : 201, { 'Content-Length': 0 }).end();
  });
});
server.listen(0, '127.0.0.1', () => tell({ port: (server.address() as AddressInfo).port }));
