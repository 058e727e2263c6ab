/** The event loop goes on while a filesystem makes whoever uses it wait for its server (kernel-rules: open-may-wait). */
import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createSendfileStream, sendFile } from '@zerocopy/sendfile-stream';
import { contentOf, SLOW_OPERATIONS, slowName } from '@zerocopy/testing/slow-files';
import { noSlowMount, stallOf, withSlowMount } from '@zerocopy/testing/slow-mount';
import test from 'ava';
import { collect, get, kernelSerial, withHttpServer, withSockets } from './harness.js';

/** Milliseconds. */
const DELAY = 300;
const STALL_MAX = 250;
/** Bytes: a small file, which is copied with the headers where it is warm; and one that takes several reads. */
const SMALL = 1024;
const LARGE = 200_000;

const reason = noSlowMount();
const slowTest = reason === undefined ? kernelSerial : test.skip;
if (reason !== undefined) test.skip(`a slow filesystem: ${reason}`, () => {});

type Way = (path: string) => Promise<Buffer>;

async function overSocket(send: (server: import('node:net').Socket) => Promise<unknown>): Promise<Buffer> {
  let received: Buffer = Buffer.alloc(0);
  await withSockets('tcp', async (server, client) => {
    const bytes = collect(client);
    await send(server);
    server.end();
    received = await bytes;
  });
  return received;
}

async function overHttp(send: (response: import('node:http').ServerResponse) => Promise<unknown>): Promise<Buffer> {
  let received: Buffer = Buffer.alloc(0);
  let sent: Promise<unknown> | undefined;
  await withHttpServer(
    (_request, response) => {
      sent = send(response);
    },
    async (port) => {
      received = (await get(port)).body;
      await sent;
    },
  );
  return received;
}

const WAYS: Readonly<Record<string, Way>> = {
  'sendFile(socket, path)': (path) => overSocket((server) => sendFile(server, path)),
  'sendFile(response, path)': (path) => overHttp((response) => sendFile(response, path)),
  'pipeline(createSendfileStream(path), socket)': (path) =>
    overSocket((server) => pipeline(createSendfileStream(path), server, { end: false })),
  'pipeline(createSendfileStream(path), response)': (path) =>
    overHttp((response) => pipeline(createSendfileStream(path), response)),
  'sendFile(socket, fileHandle)': (path) =>
    overSocket(async (server) => {
      const handle = await open(path);
      await sendFile(server, handle);
      await handle.close();
    }),
  'createSendfileStream(null, { fd })': (path) =>
    overSocket(async (server) => {
      const handle = await open(path);
      await pipeline(createSendfileStream('', { fd: handle, autoClose: false }), server, { end: false });
      await handle.close();
    }),
};

for (const operation of SLOW_OPERATIONS) {
  slowTest(`slow at ${operation}: the loop goes on, and every byte arrives`, async (t) => {
    await withSlowMount(DELAY, async (directory) => {
      const transfer = async (way: string, bytes: number): Promise<void> => {
        const path = join(directory, slowName(operation, bytes));
        await stat(path); // the look-up is in the kernel's cache from here on, where it may be kept
        t.true((await WAYS[way]?.(path))?.equals(contentOf(bytes)), `${way}, ${bytes} bytes`);
      };
      const small = Object.keys(WAYS).map((way) => [way, SMALL] as const);
      const large = Object.keys(WAYS)
        .slice(0, 2)
        .map((way) => [way, LARGE] as const);
      const stall = await stallOf(STALL_MAX, () =>
        Promise.all([...small, ...large].map(([way, bytes]) => transfer(way, bytes))),
      );
      t.true(stall < STALL_MAX, `the loop stood still for ${stall.toFixed(0)} ms`);
    });
  });
}
