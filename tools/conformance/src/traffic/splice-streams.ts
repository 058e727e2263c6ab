/** splice-pipe's streams in pipelines: from sockets to sockets, from sockets and uploads to files. */
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import net, { type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createSpliceReadStream, createSpliceWriteStream, type SpliceWriteStream } from '@zerocopy/splice-pipe';
import { shrinkBuffer } from './kernel-objects.js';
import { arrival, goneForGood, type Kind, lateArrival, withPair } from './peers.js';
import type { Delivery, Setting, Traffic } from './traffic.js';

/** What a pipeline failed with. */
async function failureOf(
  source: NodeJS.ReadableStream,
  destination: NodeJS.WritableStream,
  { signal }: Setting,
): Promise<NodeJS.ErrnoException | undefined> {
  try {
    await pipeline(source, destination, signal === undefined ? {} : { signal });
    return undefined;
  } catch (error) {
    return error as NodeJS.ErrnoException;
  }
}

interface ReadManner {
  readonly late?: boolean;
  /** In the middle it becomes an ordinary stream. */
  readonly left?: boolean;
}

const socketThroughStream = (kind: Kind, { late = false, left = false }: ReadManner): Traffic => ({
  name: `createSpliceReadStream of a ${kind} socket${late ? ', read late' : ''}${left ? ', left in the middle' : ''}`,
  run: (setting) =>
    withPair(kind, (from) =>
      withPair(kind, async (to) => {
        if (late) shrinkBuffer(to.server);
        const received = late ? lateArrival(to.client, () => to.server.bytesWritten) : arrival(to.client);
        from.client.end(setting.content);
        const stream = createSpliceReadStream(from.server);
        if (left) stream.once('progress', () => stream.on('data', () => {}));
        const error = await failureOf(stream, to.server, setting);
        to.server.end();
        const { bytesMoved: bytes, method } = stream;
        return [{ error, bytes, method, received: await received }];
      }),
    ),
});

/** Once it is closed, too. */
async function piped(source: NodeJS.ReadableStream, file: SpliceWriteStream, setting: Setting): Promise<Delivery> {
  const closed = new Promise<void>((resolve) => file.once('close', resolve));
  const error = await failureOf(source, file, setting);
  await closed;
  const path = String(file.path);
  const received = existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
  // Of an upload whose connection has gone, with the one before it: the bytes that came with its header go by fs.write.
  const cutOff = error?.code === 'ECONNRESET' && error.syscall === undefined;
  const mayGain = cutOff ? 'fs.WriteStream does not count a write that is under way when it is destroyed' : undefined;
  return { error, bytes: file.bytesWritten, method: file.method, received, mayGain };
}

const socketToStream = (kind: Kind, left: boolean): Traffic => ({
  name: `createSpliceWriteStream from a ${kind} socket${left ? ', paused in the middle' : ''}`,
  run: (setting) =>
    withPair(kind, async (from) => {
      from.client.end(setting.content);
      const file = createSpliceWriteStream(join(setting.directory, 'target'));
      if (left) {
        file.once('progress', () => {
          from.server.pause();
          setImmediate(() => from.server.resume());
        });
      }
      return [await piped(from.server, file, setting)];
    }),
});

const GONE = Object.assign(new Error('the connection has gone, and this upload with it'), { code: 'ECONNRESET' });
const UPLOADS = 3;

/** Sends uploads, one after the other's answer or all at once; resolves by the last answer, or when the connection is gone. */
function upload(client: Socket, content: Buffer, pipelined: boolean): Promise<void> {
  let answers = '';
  let sent = 0;
  const send = (): void => {
    sent++;
    client.write(`PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${content.length}\r\n\r\n`);
    client.write(content);
  };
  return new Promise((resolve) => {
    client.once('close', () => resolve());
    client.on('data', (chunk: Buffer) => {
      answers += chunk.toString('latin1');
      const answered = answers.split('got it').length - 1;
      if (answered === UPLOADS) resolve();
      else if (answered === sent) send();
    });
    do send();
    while (pipelined && sent < UPLOADS);
  });
}

/** Several uploads on one connection: each is whole, or has failed; after a failed one the connection may be gone. */
const uploads = (pipelined: boolean): Traffic => ({
  name: `createSpliceWriteStream from uploads on one connection${pipelined ? ', pipelined' : ''}`,
  async run(setting) {
    const deliveries: Promise<Delivery>[] = [];
    const server = http.createServer((request: IncomingMessage, response: ServerResponse) => {
      const file = createSpliceWriteStream(join(setting.directory, `target${deliveries.length}`));
      const delivery = piped(request, file, setting);
      deliveries.push(delivery);
      delivery.then(({ error }) => {
        if (error === undefined) response.end('got it');
        else response.destroy();
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const client = net.connect((server.address() as AddressInfo).port, '127.0.0.1');
    client.on('error', () => {}); // the connection is gone
    try {
      await once(client, 'connect');
      await upload(client, setting.content, pipelined);
      const all = await Promise.all(deliveries);
      while (all.length < UPLOADS) all.push({ error: GONE, bytes: 0, received: Buffer.alloc(0) });
      return all;
    } finally {
      await goneForGood(client);
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  },
});

export const spliceStreamTraffic: readonly Traffic[] = [
  socketThroughStream('tcp', {}),
  socketThroughStream('unix', { late: true }),
  socketThroughStream('tcp', { left: true }),
  socketThroughStream('unix', { left: true }),
  socketToStream('tcp', false),
  socketToStream('unix', false),
  socketToStream('unix', true),
  uploads(false),
  uploads(true),
];
