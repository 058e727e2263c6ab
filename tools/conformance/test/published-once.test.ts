/**
 * Every pair of a source and a destination, of ours and of Node's, however it is joined and however it ends: one transfer,
 * published once. What is left to Node, between two streams of Node's, is Node's own, and published at most once.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { tracingChannel } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { createReadStream, createWriteStream, truncateSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import stream, { PassThrough, Readable, Writable } from 'node:stream';
import { TRANSFER_CHANNEL, type TransferTrace } from '@zerocopy/core-syscalls';
import { createDirectReadStream, createDirectWriteStream } from '@zerocopy/direct-io';
import { createMmapReadStream } from '@zerocopy/mmap-buffer';
import { install, pipeline } from '@zerocopy/pipeline';
import { createSendfileStream } from '@zerocopy/sendfile-stream';
import { createSpliceReadStream, createSpliceWriteStream } from '@zerocopy/splice-pipe';
import { temporaryDirectory } from '@zerocopy/testing/files';
import { connectedPair } from '@zerocopy/testing/sockets';
import { turn, until } from '@zerocopy/testing/waiting';
import test from 'ava';

const directory = temporaryDirectory();
const SIZE = 12_000_000;
const path = join(directory, 'source');
writeFileSync(path, '');
truncateSync(path, SIZE);
const content = Buffer.alloc(SIZE);
let count = 0;
const fresh = (): string => join(directory, `to-${count++}`);
const ignore = (): void => {};
/** The other ends of what the pair is made of. */
const others: { destroy(): unknown }[] = [];

async function socketSource(): Promise<stream.Duplex> {
  const { server: near, client: far } = await connectedPair('tcp');
  others.push(far.on('error', ignore));
  far.end(content);
  return near;
}

/** A request or a response, as the server sees it. */
async function message(which: 'request' | 'response'): Promise<stream.Readable | stream.Writable> {
  const server = http.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const headers = which === 'request' ? { 'content-length': SIZE } : {};
  const sent = http.request({ port, host: '127.0.0.1', method: which === 'request' ? 'PUT' : 'GET', headers });
  sent.on('error', ignore).on('response', (response) => response.on('error', ignore).resume());
  sent.end(which === 'request' ? content : undefined);
  const [request, response] = (await once(server, 'request')) as [http.IncomingMessage, http.ServerResponse];
  server.close();
  others.push(sent, request.socket);
  request.on('error', ignore);
  response.on('error', ignore);
  return which === 'request' ? request : response;
}

interface End<Stream> {
  readonly isOurs: boolean;
  make(): Promise<Stream> | Stream;
}

const ours = <Stream>(make: () => Promise<Stream> | Stream): End<Stream> => ({ isOurs: true, make });
const nodes = <Stream>(make: () => Promise<Stream> | Stream): End<Stream> => ({ isOurs: false, make });

const SOURCES: Readonly<Record<string, End<Readable>>> = {
  createSendfileStream: ours(() => createSendfileStream(path)),
  createMmapReadStream: ours(() => createMmapReadStream(path)),
  createDirectReadStream: ours(() => createDirectReadStream(path)),
  createSpliceReadStream: ours(async () => createSpliceReadStream((await socketSource()) as never)),
  'fs.ReadStream': nodes(() => createReadStream(path)),
  'net.Socket': nodes(socketSource),
  'a request': nodes(async () => (await message('request')) as Readable),
  'a Readable': nodes(() =>
    Readable.from([content.subarray(SIZE / 2), content.subarray(SIZE / 2)], { objectMode: false }),
  ),
};

const DESTINATIONS: Readonly<Record<string, End<Writable>>> = {
  createSpliceWriteStream: ours(() => createSpliceWriteStream(fresh())),
  createDirectWriteStream: ours(() => createDirectWriteStream(fresh())),
  'fs.WriteStream': nodes(() => createWriteStream(fresh())),
  'net.Socket': nodes(async () => {
    const { server: near, client: far } = await connectedPair('tcp');
    others.push(far.on('error', ignore).resume());
    return near;
  }),
  'a response': nodes(async () => (await message('response')) as Writable),
  'a Writable': nodes(() => new Writable({ write: (_chunk, _encoding, done) => void setImmediate(done) })),
};

type Outcome = NodeJS.ErrnoException | null | undefined;
type Join = (source: Readable, destination: Writable, over: (error: Outcome) => void) => void;

const JOINS: Readonly<Record<string, Join>> = {
  pipe: (source, destination, over) => {
    stream.finished(destination, { readable: false }, over);
    source.pipe(destination);
  },
  'stream.pipeline': (source, destination, over) => void stream.pipeline(source, destination, over),
  'pipeline of @zerocopy/pipeline': (source, destination, over) => void pipeline(source, destination, over),
  'stream.pipeline, installed': (source, destination, over) => {
    const uninstall = install();
    stream.pipeline(source, destination, over);
    uninstall();
  },
};

const ENDS: Readonly<Record<string, (source: Readable, destination: Writable) => void>> = {
  whole: ignore,
  'the source fails': (source) => source.destroy(new Error('the source')),
  'the source is destroyed': (source) => source.destroy(),
  'the destination fails': (_source, destination) => destination.destroy(new Error('the destination')),
  'the destination is destroyed': (_source, destination) => destination.destroy(),
};

const stores = new AsyncLocalStorage<string>();
const channel = tracingChannel<TransferTrace, TransferTrace>(TRANSFER_CHANNEL);
const started: TransferTrace[] = [];
const ended: TransferTrace[] = [];
const contexts = new Set<string | undefined>();
const note =
  (list: TransferTrace[]) =>
  (trace: TransferTrace): void => {
    contexts.add(stores.getStore());
    list.push(trace);
  };
channel.start.subscribe(note(started) as never);
channel.asyncEnd.subscribe(note(ended) as never);

for (const [joinName, joined] of Object.entries(JOINS)) {
  for (const [endName, disturb] of Object.entries(ENDS)) {
    test.serial(`${joinName}, ${endName}: every pair is published once`, async (t) => {
      for (const [sourceName, from] of Object.entries(SOURCES)) {
        for (const [destinationName, to] of Object.entries(DESTINATIONS)) {
          const pair = `${sourceName} → ${destinationName}`;
          for (const list of [started, ended]) list.length = 0;
          contexts.clear();
          const [source, destination] = await stores.run(
            pair,
            async () => [await from.make(), await to.make()] as const,
          );
          source.on('error', ignore);
          destination.on('error', ignore);
          let outcome: Outcome | 'none' = 'none';
          const over = (error: Outcome): void => {
            outcome = error ?? undefined;
          };
          stores.run(pair, () => joined(source, destination, over));
          if (endName === 'whole') await until(() => outcome !== 'none', `${pair} is over`);
          else if (from.isOurs || to.isOurs)
            await until(() => started.length > 0 || outcome !== 'none', `${pair} begins`);
          else await turn();
          disturb(source, destination);
          await turn();
          source.destroy();
          destination.destroy();
          for (const other of others.splice(0)) other.destroy();
          await until(() => source.closed && destination.closed, `${pair} is closed`);
          await until(() => ended.length >= started.length, `${pair}: what has begun has ended`);
          await turn();
          const told = ended.map(({ source: a, destination: b, method, bytes, error }) => [a, b, method, bytes, error]);
          const what = `${pair}: ${JSON.stringify(told)}`;
          if (from.isOurs || to.isOurs) t.is(ended.length, 1, what);
          else t.true(ended.length <= 1, what);
          t.deepEqual(started, ended, what);
          const [end] = ended;
          if (end === undefined) continue;
          t.deepEqual([...contexts], [pair], what);
          if (endName === 'whole') t.is(end.error, undefined, what);
          else if (end.error === undefined) t.is(end.bytes, SIZE, `${what}: a success, and not whole`);
          if (end.error !== undefined) t.is(typeof (end.error as { code?: unknown }).code, 'string', what);
          if (endName === 'whole' && (from.isOurs || to.isOurs)) t.is(end.bytes, SIZE, what);
        }
      }
    });
  }
}

test.serial('a Transform between two of ours makes two transfers of it', async (t) => {
  for (const list of [started, ended]) list.length = 0;
  await stream.promises.pipeline(createSendfileStream(path), new PassThrough(), createSpliceWriteStream(fresh()));
  await until(() => ended.length >= started.length, 'what has begun has ended');
  t.deepEqual(
    ended.map(({ bytes }) => bytes),
    [SIZE, SIZE],
  );
});
