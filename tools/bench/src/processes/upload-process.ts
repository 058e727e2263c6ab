/** An upload endpoint in a process of its own: one contestant. PUT /name writes that file of the directory. */
import { createWriteStream } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pipeline, type Writable } from 'node:stream';
import { createSpliceWriteStream } from '@zerocopy/splice-pipe';
import { answerReports, tell } from './reporting.js';

const [name = '', directory = ''] = process.argv.slice(2);
let method = 'copy';
const ways: Readonly<Record<string, (path: string) => Writable>> = {
  node: (path) => createWriteStream(path),
  zerocopy(path) {
    const stream = createSpliceWriteStream(path);
    stream.once('close', () => {
      method = stream.method ?? method;
    });
    return stream;
  },
};
const open = ways[name];
if (open === undefined) throw new RangeError(`no way to store an upload is called '${name}'`);

answerReports(() => ({ method }));

const server = createServer((request, response) => {
  pipeline(request, open(join(directory, request.url as string)), (error) => {
    response.writeHead(error ? 500 : 201, { 'Content-Length': 0 }).end();
  });
});
server.listen(0, '127.0.0.1', () => tell({ port: (server.address() as AddressInfo).port }));
