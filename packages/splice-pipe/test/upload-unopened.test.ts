/** Small uploads, which are collected while the file is opened, where it cannot be opened: as with fs.createWriteStream. */
import { execFileSync } from 'node:child_process';
import { channel } from 'node:diagnostics_channel';
import {
  closeSync,
  constants,
  createWriteStream,
  existsSync,
  open,
  openSync,
  readFileSync,
  statSync,
  type WriteStream,
} from 'node:fs';
import http, { type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream';
import type { TransferTrace } from '@zerocopy/core-syscalls';
import { createSpliceWriteStream } from '@zerocopy/splice-pipe';
import { threadPoolSize } from '@zerocopy/transfer';
import { kernelSerial, temporaryDirectory, until } from './harness.js';

const directory = temporaryDirectory();
const PIECE = 20_000;

/** Keeps every thread of the pool waiting, so that no file is opened, until the function it returns is called. */
function occupyThreads(): () => Promise<void> {
  const fifos = Array.from({ length: threadPoolSize() }, (_, n) => join(directory, `fifo-${n}`));
  for (const fifo of fifos) {
    if (!existsSync(fifo)) execFileSync('mkfifo', [fifo]);
    open(fifo, 'r', (error, fd) => {
      if (!error) closeSync(fd);
    });
  }
  return async () => {
    for (const fifo of fifos) await until(() => opens(fifo), 'its reader');
  };
}

/** Lets the reader of a FIFO go on, if it is there already. */
function opens(fifo: string): boolean {
  try {
    closeSync(openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK));
    return true;
  } catch {
    return false;
  }
}

type Make = (path: string, options: object) => WriteStream;

interface Case {
  readonly options: { readonly autoClose?: boolean; readonly emitClose?: boolean };
  readonly join: 'pipe' | 'pipeline';
  readonly then: 'nothing' | 'end' | 'destroy';
}

/** What happened, and what is left, when the file could not be opened after two pieces of the body had come. */
async function upload(make: Make, { options, join: by, then }: Case): Promise<unknown> {
  const log: unknown[] = [];
  const server = http.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const arrived = new Promise<IncomingMessage>((resolve) => server.once('request', resolve));
  const client = http.request({ port, host: '127.0.0.1', method: 'PUT', headers: { 'Content-Length': 10 * PIECE } });
  client.on('error', () => {});
  client.write(Buffer.alloc(PIECE));
  const request = await arrived;
  const before = request.listenerCount('close');
  const release = occupyThreads();
  const file = make(directory, options); // a directory: EISDIR
  file.on('error', (error: NodeJS.ErrnoException) => {
    log.push(['error', error.code, file.destroyed]);
    if (then === 'end') file.end();
    if (then === 'destroy') file.destroy();
  });
  for (const event of ['pipe', 'unpipe', 'finish', 'close']) file.on(event, () => log.push(event));
  if (by === 'pipe') request.pipe(file);
  else pipeline(request, file, (error) => log.push(['callback', error?.code]));
  const received = (): number => request.socket?.bytesRead ?? Number.POSITIVE_INFINITY;
  client.write(Buffer.alloc(PIECE));
  await until(() => received() > 2 * PIECE);
  await until(() => file.writableLength >= PIECE, 'something in the queue');
  await release();
  await until(() => file.errored !== null && log.length >= (by === 'pipe' ? 3 : 4), 'the error');
  await new Promise((resolve) => setTimeout(resolve, 5));
  if (by === 'pipe') log.push(request.listenerCount('close') - before);
  const destroyed = file.destroyed;
  file.destroy();
  await until(() => file.destroyed && file.writableLength === 0, 'an empty queue');
  client.destroy();
  server.close();
  return { log, destroyed };
}

const cases: Case[] = [];
for (const by of ['pipe', 'pipeline'] as const) {
  for (const then of ['nothing', 'end', 'destroy'] as const) {
    for (const options of [{}, { autoClose: false }, { emitClose: false }, { autoClose: false, emitClose: false }]) {
      cases.push({ options, join: by, then });
    }
  }
}

for (const each of cases) {
  kernelSerial(`a file that cannot be opened: ${JSON.stringify(each)}`, async (t) => {
    const published: string[] = [];
    const reading = (event: string) => (trace: unknown) => {
      if (String((trace as TransferTrace).detail?.destination) === directory) published.push(event);
    };
    const subscribed = ['start', 'error', 'asyncEnd'].map((event) => {
      const listener = reading(event);
      channel(`tracing:zerocopy:transfer:${event}`).subscribe(listener);
      return () => channel(`tracing:zerocopy:transfer:${event}`).unsubscribe(listener);
    });
    t.deepEqual(
      await upload(createSpliceWriteStream as unknown as Make, each),
      await upload(createWriteStream as unknown as Make, each),
    );
    for (const unsubscribe of subscribed) unsubscribe();
    t.deepEqual(published, ['start', 'error', 'asyncEnd']);
  });
}

kernelSerial('destroyed as a small body is piped into it: pipeline fails, as with fs.createWriteStream', async (t) => {
  const outcomes: unknown[] = [];
  for (const make of [createSpliceWriteStream, createWriteStream] as readonly Make[]) {
    const log: unknown[] = [];
    const server = http.createServer((request) => {
      const file = make(join(directory, `destroyed-${outcomes.length}`), {});
      file.once('pipe', () => file.destroy());
      for (const event of ['unpipe', 'finish', 'close']) file.on(event, () => log.push(event));
      pipeline(request, file, (error) => log.push(error?.code ?? 'done', file.writableEnded, request.readableEnded));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const client = http.request({ port, host: '127.0.0.1', method: 'PUT', headers: { 'Content-Length': 4097 } });
    client.on('error', () => {}).end(Buffer.alloc(4097));
    await until(() => log.length >= 4, 'the end');
    client.destroy();
    server.close();
    outcomes.push(log);
  }
  t.deepEqual(outcomes[0], outcomes[1]);
});

kernelSerial('a small body that is paused in its midst: what was written is in the file', async (t) => {
  const path = join(directory, 'paused');
  const server = http.createServer((request) => {
    const file = createSpliceWriteStream(path);
    request.pipe(file);
    file.once('ready', () => {
      file.write('own');
      request.pause();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const client = http.request({ port, host: '127.0.0.1', method: 'PUT', headers: { 'Content-Length': 4097 } });
  client.on('error', () => {});
  client.write('begin');
  await until(() => existsSync(path) && statSync(path).size >= 3, 'what was written');
  t.regex(readFileSync(path, 'utf8'), /own/);
  client.destroy();
  server.close();
});

kernelSerial('a whole body whose stream is destroyed before its file is open is no success', async (t) => {
  for (const size of [100, 5 * PIECE]) {
    const published: string[] = [];
    const error = channel('tracing:zerocopy:transfer:error');
    const onError = ({ error: failure }: TransferTrace): void =>
      void published.push(String((failure as Error | undefined)?.message));
    error.subscribe(onError as never);
    const server = http.createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const arrived = new Promise<IncomingMessage>((resolve) => server.once('request', resolve));
    const client = http.request({ port, host: '127.0.0.1', method: 'PUT', headers: { 'Content-Length': size } });
    client.on('error', () => {});
    client.flushHeaders();
    const request = await arrived;
    const release = occupyThreads();
    const path = join(directory, `destroyed-${size}`);
    const file = createSpliceWriteStream(path);
    const ended = new Promise<NodeJS.ErrnoException | null>((resolve) => pipeline(request, file, resolve));
    client.end(Buffer.alloc(size, 7));
    await until(() => request.readableEnded, 'the whole body');
    t.is(file.fd, null, 'it is not open yet');
    file.destroy();
    await release();
    t.is((await ended)?.code, 'ERR_STREAM_PREMATURE_CLOSE');
    t.is(file.errored, null, 'whoever destroys it so hears of no error');
    t.is(readFileSync(path).length, 0);
    t.is(published.length, 1);
    error.unsubscribe(onError as never);
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});
