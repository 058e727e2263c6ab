/** What Node has read before the stream is piped, or while it flows, comes before what the kernel sends. */
import { tracingChannel } from 'node:diagnostics_channel';
import fs, { createReadStream } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { feature, type TransferTrace } from '@zerocopy/core-syscalls';
import { createSendfileStream } from '@zerocopy/sendfile-stream';
import { MiB, pattern } from '@zerocopy/testing/bytes';
import { temporaryDirectory, writeFile } from '@zerocopy/testing/files';
import { testsWhere } from '@zerocopy/testing/kernel-tests';
import { collect, withPair } from '@zerocopy/testing/sockets';
import { until } from '@zerocopy/testing/waiting';

const { test, serial } = testsWhere('sendfile', feature('sendfile'));
const content = pattern(3 * MiB + 5);
const path = writeFile(join(temporaryDirectory(), 'file'), content);

const ways: Readonly<Record<string, (source: Readable, pipe: () => void) => void>> = {
  "piped at 'readable'": (source, pipe) => source.once('readable', pipe),
  'piped when a chunk has been looked for': (source, pipe) =>
    source.once('open', () => {
      source.read(0);
      setTimeout(pipe, 20);
    }),
  'piped, unpiped and piped again, paused between': (source, pipe) => {
    source.once('readable', () => {
      pipe();
      source.unpipe();
      source.read(0);
      setImmediate(pipe);
    });
  },
};

for (const [name, way] of Object.entries(ways)) {
  for (const highWaterMark of [1000, 64 * 1024, MiB]) {
    test(`${name}, ${highWaterMark} bytes at a time: the bytes in their order`, async (t) => {
      for (const make of [createSendfileStream, createReadStream]) {
        await withPair('tcp', async ({ server, client }) => {
          const arrived = collect(client);
          const source: Readable = make(path, { highWaterMark });
          way(source, () => source.pipe(server));
          t.true((await arrived).equals(content), make.name);
        });
      }
    });
  }
}

const channel = tracingChannel<string, TransferTrace>('zerocopy:transfer');

for (const [name, way] of Object.entries(ways)) {
  for (const [how, options, method] of [
    ['sent by the kernel', {}, 'sendfile'],
    ['copied', { fs: { ...fs } }, 'copy'],
  ] as const) {
    serial(`${name}, ${how}: what is published has every byte once`, async (t) => {
      const ended: number[] = [];
      let started = 0;
      const subscribers = {
        start: () => started++,
        end: () => {},
        asyncStart: () => {},
        asyncEnd: ({ result }: TransferTrace) => ended.push(result?.bytes ?? 0),
        error: () => {},
      };
      channel.subscribe(subscribers as never);
      t.teardown(() => channel.unsubscribe(subscribers as never));
      await withPair('tcp', async ({ server, client }) => {
        const arrived = collect(client);
        const source = createSendfileStream(path, options);
        way(source, () => source.pipe(server));
        t.true((await arrived).equals(content));
        await until(() => ended.length === started, 'all that has begun is over');
        t.is(source.method, method);
      });
      t.is(
        ended.reduce((sum, bytes) => sum + bytes, 0),
        content.length,
      );
    });
  }
}
