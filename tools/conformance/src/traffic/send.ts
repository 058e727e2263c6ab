/** Files to sockets, HTTP responses and files, by sendfile-stream. */
import { once } from 'node:events';
import { closeSync, linkSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, descriptorOf, syscalls, type TransferError, type TransferResult } from '@zerocopy/core-syscalls';
import { createSendfileStream, type SendFileDestination, sendFile } from '@zerocopy/sendfile-stream';
import { arrival, type Kind, request, withPair } from './peers.js';
import type { Delivery, Setting, Traffic } from './traffic.js';

/** Where the content is as a file. */
export const sourceOf = ({ directory }: Setting): string => join(directory, 'source');

/** Makes that file. */
export function prepare(setting: Setting): void {
  writeFileSync(sourceOf(setting), setting.content);
}

let onDisk: { readonly path: string; readonly content: Buffer } | undefined;

/** The file is on the disk, and nowhere in memory, where its filesystem can do without. Written, which takes long, once. */
function prepareCold(setting: Setting): void {
  const { content } = setting;
  if (onDisk?.content !== content) {
    const directory = mkdtempSync(join(tmpdir(), 'zerocopy-cold-'));
    process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
    onDisk = { path: join(directory, 'source'), content };
    writeFileSync(onDisk.path, content, { flush: true });
  }
  linkSync(onDisk.path, sourceOf(setting));
  const fd = openSync(onDisk.path, 'r');
  syscalls.posixFadvise(fd, 0, 0, constants.POSIX_FADV_DONTNEED);
  closeSync(fd);
}

const AROUND = Buffer.alloc(5000, 'not to be sent ');

/** What is to be sent lies in the midst of the file. */
function prepareRange(setting: Setting): void {
  writeFileSync(sourceOf(setting), Buffer.concat([AROUND, setting.content, AROUND]));
}

const rangeOf = ({ content }: Setting): { start: number; end: number } => ({
  start: AROUND.length,
  end: AROUND.length + content.length - 1,
});

export type Told = Omit<Delivery, 'received'>;

/** `sendFile`, and what it told. */
export async function told(transfer: Promise<TransferResult>): Promise<Told> {
  try {
    const { bytes, method } = await transfer;
    return { bytes, method };
  } catch (error) {
    // A file that could not be opened fails with Node's own error, and nothing has moved.
    return { error: error as TransferError, bytes: (error as Partial<TransferError>).bytes ?? 0 };
  }
}

const sendWhole = (destination: SendFileDestination, path: string, { signal }: Setting): Promise<TransferResult> =>
  sendFile(destination, path, { smallFileSize: 0, ...(signal === undefined ? {} : { signal }) });

/** `createSendfileStream` in a pipeline, and what it told. */
async function streamed(
  destination: NodeJS.WritableStream,
  path: string,
  { signal }: Setting,
  range: { start?: number; end?: number } = {},
): Promise<Told> {
  const source = createSendfileStream(path, { smallFileSize: 0, ...range });
  // By then its file is closed, too.
  const closed = once(source, 'close').catch(() => {});
  let error: NodeJS.ErrnoException | undefined;
  try {
    await pipeline(source, destination, signal === undefined ? {} : { signal });
  } catch (failure) {
    error = failure as NodeJS.ErrnoException;
  }
  await closed;
  return { error, bytes: source.method === 'copy' ? source.bytesRead : source.bytesSent, method: source.method };
}

type Way = (destination: ServerResponse, path: string, setting: Setting) => Promise<Told>;

const toResponse = (name: string, way: Way, framing: 'length' | 'chunked'): Traffic => ({
  name,
  prepare,
  async run(setting) {
    const path = sourceOf(setting);
    const outcome = await request(async (_request, response) => {
      if (framing === 'length') response.setHeader('Content-Length', setting.content.length);
      else response.write(''); // headers without a length go out: the body is chunked
      const result = await way(response, path, setting);
      if (result.error !== undefined) response.destroy();
      else if (!response.writableEnded) response.end();
      return result;
    });
    return [{ ...outcome.told, received: outcome.answer.body }];
  },
});

const toSocket = (name: string, way: Way, kind: Kind): Traffic => ({
  name,
  prepare,
  async run(setting) {
    const path = sourceOf(setting);
    return withPair(kind, async ({ server, client }) => {
      const received = arrival(client);
      const result = await way(server as unknown as ServerResponse, path, setting);
      server.end();
      return [{ ...result, received: await received }];
    });
  },
});

const byPromise: Way = (destination, path, setting) => told(sendWhole(destination, path, setting));

const toFile = (name: string, flags: 'w' | 'a'): Traffic => ({
  name,
  prepare,
  async run(setting) {
    const target = join(setting.directory, 'target');
    const fd = openSync(target, flags);
    const result = await told(sendWhole(fd, sourceOf(setting), setting));
    closeSync(fd);
    return [{ ...result, received: readFileSync(target) }];
  },
});

const toStream: Traffic = {
  name: 'sendFile to a stream in user space',
  prepare,
  async run(setting) {
    const chunks: Buffer[] = [];
    const sink = new Writable({
      write(chunk: Buffer, _encoding, callback) {
        chunks.push(chunk);
        setImmediate(callback);
      },
    });
    const result = await told(sendWhole(sink, sourceOf(setting), setting));
    if (!sink.destroyed) await new Promise<void>((resolve) => sink.end(resolve));
    return [{ ...result, received: Buffer.concat(chunks) }];
  },
};

/** The destination's number: a stream of the package's own, on a duplicate, does the waiting. */
const byDescriptor: Way = async (destination, path, setting) => {
  const fd = descriptorOf(destination as unknown as Socket) as number;
  return told(sendWhole(fd, path, setting));
};

const ofRange: Way = (destination, path, setting) =>
  told(sendFile(destination, path, { smallFileSize: 0, ...rangeOf(setting) }));

const streamOfRange: Way = (destination, path, setting) => streamed(destination, path, setting, rangeOf(setting));

/** In one write with the headers; the rest of the traffic asks for the kernel at any size. */
const small: Way = (destination, path) => told(sendFile(destination, path, { smallFileSize: 2 ** 30 }));

export const sendTraffic: readonly Traffic[] = [
  toSocket('sendFile to a TCP socket', byPromise, 'tcp'),
  toSocket('sendFile to a unix socket', byPromise, 'unix'),
  toSocket("sendFile to a socket's descriptor", byDescriptor, 'tcp'),
  { ...toSocket('sendFile of a range to a socket', ofRange, 'tcp'), prepare: prepareRange },
  { ...toSocket('sendFile of a cold file to a socket', byPromise, 'tcp'), prepare: prepareCold },
  toSocket('createSendfileStream to a socket', streamed, 'tcp'),
  { ...toSocket('createSendfileStream of a range to a socket', streamOfRange, 'tcp'), prepare: prepareRange },
  { ...toSocket('createSendfileStream of a cold file to a socket', streamed, 'tcp'), prepare: prepareCold },
  toResponse('sendFile to a response with a length', byPromise, 'length'),
  toResponse('sendFile to a response, all in the write of its headers', small, 'length'),
  toResponse('createSendfileStream to a response with a length', streamed, 'length'),
  toResponse('createSendfileStream to a response in chunks', streamed, 'chunked'),
  { ...toResponse('createSendfileStream of a cold file in chunks', streamed, 'chunked'), prepare: prepareCold },
  toFile('sendFile to a file', 'w'),
  toFile('sendFile to a file that is appended to', 'a'),
  toStream,
];
