/** Serves a file by one way for as many responses as it is told, and tells what the heap has after each tenth of them. */
import { once } from 'node:events';
import { createReadStream, writeFileSync } from 'node:fs';
import http, { type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pipeline as nodePipeline } from 'node:stream';
import { Worker } from 'node:worker_threads';
import { pipeline } from '@zerocopy/pipeline';
import { createSendfileStream, sendFile } from '@zerocopy/sendfile-stream';
import { removeDirectory, temporaryDirectory } from '@zerocopy/testing/files';
import { collectGarbage } from '@zerocopy/testing/holdings';
import { tell } from '../asking.js';
import type { ClientData } from './client.worker.js';
import { MARKS, type Task, type WayName } from './retained.js';

const CONNECTIONS = 16;
/** Whole collections before the heap is looked at: what finalizers let go of is gone in the next. */
const COLLECTIONS = 8;

const { way, responses, length } = JSON.parse(process.argv[2] as string) as Task;
const directory = temporaryDirectory();
const path = join(directory, 'file');
writeFileSync(path, Buffer.alloc(length, 'content'));

const fail = (error: Error | null | undefined): void => {
  if (error) throw error;
};
const WAYS: Readonly<Record<WayName, (response: ServerResponse) => void>> = {
  sendFile: (response) => void sendFile(response, path).then(() => response.end()),
  "createSendfileStream by Node's pipeline": (response) => nodePipeline(createSendfileStream(path), response, fail),
  'createSendfileStream by pipeline': (response) => pipeline(createSendfileStream(path), response, fail),
  'createSendfileStream by pipe': (response) => void createSendfileStream(path).pipe(response),
  'fs.createReadStream by pipeline': (response) => pipeline(createReadStream(path), response, fail),
};

const server = http.createServer((_request, response) => {
  response.setHeader('Content-Length', length);
  WAYS[way](response);
});
server.keepAliveTimeout = 0; // the heap is looked at while no request is under way
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const data: ClientData = { port: (server.address() as AddressInfo).port, connections: CONNECTIONS, length };
const client = new Worker(new URL('./client.worker.js', import.meta.url), { workerData: data });
client.on('error', fail);
const heaps: number[] = [];
for (let mark = 0; mark < MARKS; mark++) {
  client.postMessage(responses / MARKS);
  await once(client, 'message');
  await collectGarbage(undefined, COLLECTIONS);
  heaps.push(process.memoryUsage().heapUsed);
}
removeDirectory(directory);
tell('heaps', heaps);
process.disconnect();
process.exit();
