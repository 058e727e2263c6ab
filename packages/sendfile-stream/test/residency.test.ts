/** A window of a file is sent on the event loop only if all of it is in memory (kernel-rules: nowait-one-page, cold-blocks). */

import { fork } from 'node:child_process';
import { tracingChannel } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { closeSync, fsyncSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { constants, libcStatus, syscalls, TRANSFER_CHANNEL, type TransferTrace } from '@zerocopy/core-syscalls';
import { filesystemOf } from '@zerocopy/core-syscalls/descriptors';
import { sendFile } from '@zerocopy/sendfile-stream';
import test, { type ExecutionContext } from 'ava';
import { throttleOf } from './fixtures/throttled-disk.js';
import { collect, KiB, kernelSerial, MiB, pattern, temporaryDirectory, withSockets, writeFile } from './harness.js';

const directory = temporaryDirectory();
const SIZE = 2 * MiB;
const PAGE = syscalls.getpagesize();
const content = pattern(SIZE);

/**
 * A file of which the kernel has nothing in memory but the single pages at `positions`; or more, where the filesystem
 * keeps what it is told to forget, or reads more than it is asked for: {@link coldPagesOf} tells.
 */
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

/** Which pages of a file are not in memory. By mincore: a read, RWF_NOWAIT or not, starts a read-ahead; cachestat sees nothing on overlayfs. */
function coldPagesOf(path: string): readonly number[] {
  const fd = openSync(path, 'r');
  const address = syscalls.mmap(null, SIZE, constants.PROT_READ, constants.MAP_SHARED, fd, 0);
  closeSync(fd);
  if (typeof address === 'number' && address < 0) throw new Error(`mmap: ${address}`);
  const pages = new Uint8Array(SIZE / PAGE);
  try {
    if (syscalls.mincore(address, SIZE, pages) !== 0) throw new Error('mincore fails');
  } finally {
    syscalls.munmap(address, SIZE);
  }
  return [...pages.keys()].filter((page) => ((pages[page] as number) & 1) === 0);
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

const patterns = [
  ['the last byte of each 128 KiB', [...steps(128 * KiB - 1, 128 * KiB)]],
  ['the first and the last byte of each 128 KiB', [...steps(0, 128 * KiB), ...steps(128 * KiB - 1, 128 * KiB)]],
  ['every second page', [...steps(PAGE, 2 * PAGE)]],
] as const;

/**
 * Whether the first page that is to be cold is. To ask for it starts its being read, and on a fast disk the pages after
 * it are there a moment later: then those may be sent on this thread, and are.
 */
function isColdFrom(path: string, positions: readonly number[]): boolean {
  const warm = new Set(positions.map((position) => Math.floor(position / PAGE)));
  let first = 0;
  while (warm.has(first)) first++;
  return coldPagesOf(path).includes(first);
}

/** Why a file of which only these pages are in memory cannot be had here, in words; undefined: it can. */
function whyNotCold(positions: readonly number[]): string | undefined {
  if (!libcStatus().available) return undefined; // said by kernelSerial
  const fd = openSync(directory, 'r');
  const { kind, name } = filesystemOf(fd);
  closeSync(fd);
  if (kind !== 'local') return `temporary files are on ${name}, where nothing is cold`;
  if (isColdFrom(mostlyCold('tried', positions), positions)) return undefined;
  return `${name} keeps pages that it is told to forget, or reads more than it is asked for`;
}

type Body = (t: ExecutionContext) => Promise<void>;

function coldTest(title: string, positions: readonly number[], body: Body): void {
  const why = whyNotCold(positions);
  if (why === undefined) kernelSerial(title, body);
  else test.skip(`${title} (${why})`, () => {});
}

/** Now and then the kernel keeps pages that it was told to forget. */
function surelyCold(t: ExecutionContext, name: string, positions: readonly number[]): string {
  for (let attempt = 0; attempt < 10; attempt++) {
    const path = mostlyCold(name, positions);
    if (isColdFrom(path, positions)) return path;
  }
  throw t.fail('the file stays in memory');
}

for (const [what, positions] of patterns) {
  coldTest(`a file of which only ${what} is in memory is not sent on this thread`, positions, async (t) => {
    // Where the first page is warm, it is sent, and on a fast disk the next ones are there by then.
    const attempts = positions[0] === 0 ? 10 : 1;
    let most = 0;
    for (let attempt = 0; attempt < attempts && most === 0; attempt++) {
      const { offThread, whole } = await callsOffThread(surelyCold(t, what, positions));
      t.true(whole);
      most = offThread;
    }
    t.true(most > 0, 'every call was made on the event loop');
  });
}

const everyPage = [...steps(0, PAGE)];
const lastBytes = [...steps(128 * KiB - 1, 128 * KiB)];

coldTest(
  'a file that is in memory is sent on this thread, also right after parts of it were cold',
  lastBytes,
  async (t) => {
    const path = surelyCold(t, 'twice', lastBytes);
    t.true((await callsOffThread(path)).offThread > 0);
    t.deepEqual(coldPagesOf(path), []);
    t.deepEqual(await callsOffThread(path), { offThread: 0, whole: true });
    t.deepEqual(await callsOffThread(mostlyCold('warm', everyPage)), { offThread: 0, whole: true });
  },
);

/** Bytes per second. */
const SLOW = 1 * MiB;

const throttle = throttleOf(directory);

for (const transfers of [1, 3]) {
  const title = `from a slow disk, ${transfers} at once, of windows whose last bytes were asked for first: the loop goes on`;
  if (typeof throttle === 'string') test.skip(`${title} (${throttle})`, () => {});
  else
    coldTest(title, lastBytes, async (t) => {
      const path = surelyCold(t, `throttled-${transfers}`, lastBytes);
      const limited = throttle(SLOW);
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
    });
}
