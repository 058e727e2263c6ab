/** Files to sockets, HTTP responses and files, by sendfile-stream. */
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { TransferError, TransferResult } from '@zerocopy/core-syscalls';
import { createSendfileStream, type SendFileDestination, sendFile } from '@zerocopy/sendfile-stream';
import { arrival, type Kind, request, withPair } from './peers.js';
import type { Delivery, Setting, Traffic } from './traffic.js';

const sourceOf = ({ directory, content }: Setting): string => {
  const path = join(directory, 'source');
  writeFileSync(path, content);
  return path;
};

type Told = Omit<Delivery, 'received'>;

/** `sendFile`, and what it told. */
async function told(transfer: Promise<TransferResult>): Promise<Told> {
  try {
    const { bytes, method } = await transfer;
    return { bytes, method };
  } catch (error) {
    return { error: error as TransferError, bytes: (error as TransferError).bytes };
  }
}

const sendWhole = (destination: SendFileDestination, path: string, { signal }: Setting): Promise<TransferResult> =>
  sendFile(destination, path, { smallFileSize: 0, ...(signal === undefined ? {} : { signal }) });

/** `createSendfileStream` in a pipeline, and what it told. */
async function streamed(destination: NodeJS.WritableStream, path: string, { signal }: Setting): Promise<Told> {
  const source = createSendfileStream(path, { smallFileSize: 0 });
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
  async run(setting) {
    const path = sourceOf(setting);
    const outcome = await request(async (_request, response) => {
      if (framing === 'length') response.setHeader('Content-Length', setting.content.length);
      else response.write(''); // headers without a length go out: the body is chunked
      const result = await way(response, path, setting);
      if (result.error === undefined && !response.writableEnded) response.end();
      return result;
    });
    return [{ ...outcome.told, received: outcome.answer.body }];
  },
});

const toSocket = (name: string, way: Way, kind: Kind): Traffic => ({
  name,
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

const toFile: Traffic = {
  name: 'sendFile to a file',
  async run(setting) {
    const path = sourceOf(setting);
    const target = join(setting.directory, 'target');
    const handle = await open(target, 'w');
    const result = await told(sendWhole(handle, path, setting));
    await handle.close();
    return [{ ...result, received: readFileSync(target) }];
  },
};

export const sendTraffic: readonly Traffic[] = [
  toSocket('sendFile to a TCP socket', byPromise, 'tcp'),
  toSocket('sendFile to a unix socket', byPromise, 'unix'),
  toSocket('createSendfileStream to a socket', streamed, 'tcp'),
  toResponse('sendFile to a response with a length', byPromise, 'length'),
  toResponse('createSendfileStream to a response with a length', streamed, 'length'),
  toResponse('createSendfileStream to a response in chunks', streamed, 'chunked'),
  toFile,
];
