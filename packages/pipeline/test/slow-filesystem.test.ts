/** The event loop goes on while a file's server makes whoever asks it wait (kernel-rules: open-may-wait). */
import { createReadStream, createWriteStream, readFileSync } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { feature } from '@zerocopy/core-syscalls';
import { copy, pipeline } from '@zerocopy/pipeline';
import { temporaryDirectory } from '@zerocopy/testing/files';
import { contentOf, SLOW_OPERATIONS, slowName } from '@zerocopy/testing/slow-files';
import { noSlowMount, stallOf, withSlowMount } from '@zerocopy/testing/slow-mount';
import { collect, withPair } from '@zerocopy/testing/sockets';
import test from 'ava';

/** Milliseconds. */
const DELAY = 300;
const STALL_MAX = 250;
const BYTES = 1_000_000;

const directory = temporaryDirectory();
const cached = feature('openat2Cached');
const reason = noSlowMount();
const slowTest = (reason === undefined ? test.serial : test.skip) as typeof test.serial;
if (reason !== undefined) test.skip(`a slow filesystem: ${reason}`, () => {});

const piped = (source: NodeJS.ReadableStream, destination: NodeJS.WritableStream): Promise<void> =>
  new Promise((resolve, reject) => {
    pipeline(source, destination, (error: Error | null | undefined) => (error ? reject(error) : resolve()));
  });

const overSocket = (move: (path: string, socket: Socket) => Promise<unknown>) => (path: string) =>
  withPair('tcp', async ({ server, client }) => {
    const received = collect(client);
    await move(path, server);
    server.end();
    return received;
  });

const WAYS: Readonly<Record<string, (path: string) => Promise<Buffer>>> = {
  'pipeline(fs.createReadStream(path), socket)': overSocket((path, socket) => piped(createReadStream(path), socket)),
  'copy(path, socket)': overSocket((path, socket) => copy(path, socket)),
  'copy(fileHandle, socket)': overSocket(async (path, socket) => {
    const handle = await open(path);
    await copy(handle, socket);
    await handle.close();
  }),
  'pipeline(fs.createReadStream(path), fs.createWriteStream(copy))': async (path) => {
    const to = join(directory, 'copy');
    await piped(createReadStream(path), createWriteStream(to));
    return readFileSync(to);
  },
};

for (const operation of SLOW_OPERATIONS) {
  if (operation === 'getattr' && !cached.available) {
    test.skip(`slow at getattr: ${cached.reason}`, () => {}); // then node:fs is asked, and waits
    continue;
  }
  slowTest(`slow at ${operation}: the loop goes on, and every byte arrives`, async (t) => {
    await withSlowMount(DELAY, async (mount) => {
      const path = join(mount, slowName(operation, BYTES));
      await stat(path); // the look-up is in the kernel's cache from here on, where it may be kept
      for (const [name, way] of Object.entries(WAYS)) {
        const stall = await stallOf(STALL_MAX, async () => {
          t.true((await way(path)).equals(contentOf(BYTES)), name);
        });
        t.true(stall < STALL_MAX, `${name}: the loop stood still for ${stall.toFixed(0)} ms`);
      }
    });
  });
}
