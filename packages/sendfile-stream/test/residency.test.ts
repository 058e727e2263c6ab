/** A window of a file is sent on the event loop only if all of it is in memory (kernel-rules: nowait-one-page, cold-blocks). */

import { fork } from 'node:child_process';
import { tracingChannel } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { closeSync, fsyncSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { constants, syscalls, TRANSFER_CHANNEL, type TransferTrace } from '@zerocopy/core-syscalls';
import { filesystemOf } from '@zerocopy/core-syscalls/descriptors';
import { sendFile } from '@zerocopy/sendfile-stream';
import test from 'ava';
import { type Throttle, throttleOf } from './fixtures/throttled-disk.js';
import { collect, KiB, kernelTest, MiB, pattern, temporaryDirectory, withSockets, writeFile } from './harness.js';

const directory = temporaryDirectory();
const SIZE = 2 * MiB;
const PAGE = syscalls.getpagesize();
const content = pattern(SIZE);

const disk = ((): string | undefined => {
  const fd = openSync(directory, 'r');
  const { kind, name } = filesystemOf(fd);
  closeSync(fd);
  return kind === 'local' ? undefined : `temporary files are on ${name}, where nothing is cold`;
})();
const residencyTest = (disk === undefined ? kernelTest.serial : test.skip) as typeof test.serial;
if (disk !== undefined) test.skip(`cold pages: ${disk}`, () => {});

/** A file of which the kernel has nothing in memory but the single pages at `positions`. */
function mostlyCold(name: string, positions: Iterable<number>): string {
  const path = writeFile(join(directory, name), content);
  const fd = openSync(path, 'r+');
  fsyncSync(fd); // what has not been written is not forgotten
  syscalls.posixFadvise(fd, 0, 0, constants.POSIX_FADV_DONTNEED);
  syscalls.posixFadvise(fd, 0, 0, constants.POSIX_FADV_RANDOM);
  for (const position of positions) readSync(fd, Buffer.alloc(1), 0, 1, position);
  closeSync(fd);
  return path;
}

function* steps(from: number, step: number): Generator<number> {
  for (let position = from; position < SIZE; position += step) yield position;
}

/** How many of the calls that sent `path` were made off the event loop's thread. */
async function callsOffThread(path: string): Promise<{ readonly offThread: number; readonly whole: boolean }> {
  let offThread = -1;
  const subscriber = {
    asyncEnd(trace: TransferTrace): void {
      offThread = trace.offThread ?? 0;
    },
  };
  const channel = tracingChannel<TransferTrace, TransferTrace>(TRANSFER_CHANNEL);
  channel.subscribe(subscriber as never);
  let whole = false;
  try {
    await withSockets('tcp', async (server, client) => {
      const received = collect(client);
      await sendFile(server, path);
      server.end();
      whole = (await received).equals(content);
    });
  } finally {
    channel.unsubscribe(subscriber as never);
  }
  return { offThread, whole };
}

for (const [what, positions] of [
  ['the last byte of each 128 KiB', [...steps(128 * KiB - 1, 128 * KiB)]],
  ['the first and the last byte of each 128 KiB', [...steps(0, 128 * KiB), ...steps(128 * KiB - 1, 128 * KiB)]],
  ['every second page', [...steps(PAGE, 2 * PAGE)]],
] as const) {
  residencyTest(`a file of which only ${what} is in memory is not sent on this thread`, async (t) => {
    let most = 0;
    // Now and then the kernel keeps pages that it was told to forget.
    for (let attempt = 0; attempt < 3 && most === 0; attempt++) {
      const { offThread, whole } = await callsOffThread(mostlyCold(what, positions));
      t.true(whole);
      most = offThread;
    }
    t.true(most > 0, 'every call was made on the event loop');
  });
}

residencyTest('a file that is in memory is sent on this thread', async (t) => {
  const { offThread, whole } = await callsOffThread(mostlyCold('warm', steps(0, PAGE)));
  t.true(whole);
  t.is(offThread, 0);
});

residencyTest('once more, right after parts of it were cold', async (t) => {
  const path = mostlyCold('twice', steps(128 * KiB - 1, 128 * KiB));
  t.true((await callsOffThread(path)).offThread > 0);
  t.deepEqual(await callsOffThread(path), { offThread: 0, whole: true });
});

/** Bytes per second. */
const SLOW = 1 * MiB;

const throttle = throttleOf(directory);
const throttledTest = (typeof throttle === 'string' ? test.skip : residencyTest) as typeof test.serial;
if (typeof throttle === 'string') test.skip(`a throttled disk: ${throttle}`, () => {});

for (const transfers of [1, 3]) {
  throttledTest(
    `from a slow disk, ${transfers} at once, of windows whose last bytes were asked for first: the loop goes on`,
    async (t) => {
      const path = mostlyCold(`throttled-${transfers}`, steps(128 * KiB - 1, 128 * KiB));
      const limited = (throttle as Throttle)(SLOW);
      try {
        const fixture = fileURLToPath(new URL('./fixtures/throttled-send.js', import.meta.url));
        const child = fork(fixture, [path, String(transfers)]);
        await once(child, 'message');
        limited.add(child.pid as number);
        child.send('start');
        const [{ stall, bytes }] = (await once(child, 'message')) as [{ stall: number; bytes: number }];
        await once(child, 'exit');
        t.is(bytes, transfers * SIZE);
        t.true(stall < 400, `the loop stood still for ${stall.toFixed(0)} ms`);
      } finally {
        limited.end();
      }
    },
  );
}
