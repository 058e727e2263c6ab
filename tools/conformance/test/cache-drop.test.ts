/** `cache: 'drop'`: what a transfer has brought into the page cache leaves it again, and what was there before stays. */

import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { filesystemOfMagic } from '@zerocopy/core-syscalls/descriptors';
import { dontNeed } from '@zerocopy/direct-io';
import { copyFile } from '@zerocopy/file-copy';
import { createMmapReadStream } from '@zerocopy/mmap-buffer';
import { createSendfileStream, sendFile } from '@zerocopy/sendfile-stream';
import { createSpliceWriteStream, splice } from '@zerocopy/splice-pipe';
import { MiB, pattern } from '@zerocopy/testing/bytes';
import { collectGarbage } from '@zerocopy/testing/holdings';
import { isLongRun } from '@zerocopy/testing/kernel-tests';
import { evict, residentBytes, touch } from '@zerocopy/testing/page-cache';
import { connectedPair } from '@zerocopy/testing/sockets';
import { until } from '@zerocopy/testing/waiting';
import test, { type TestFn } from 'ava';

const directory = mkdtempSync(join(tmpdir(), 'zerocopy-cache-'));
test.after.always(() => rmSync(directory, { recursive: true, force: true }));

let files = 0;
const SIZE = 40 * MiB + 123;
/** One for each test: some seconds after a transfer its pages may still be dropped. */
let source = '';
const content = Buffer.concat(Array.from({ length: 41 }, (_, n) => pattern(MiB, n))).subarray(0, SIZE);
source = newSource();

function newSource(): string {
  const path = join(directory, `source-${files++}`);
  writeFileSync(path, content);
  return path;
}

/** Resident before each transfer: in the midst of a window, and across the edge of two. */
const BEFORE = [
  [3 * MiB, MiB],
  [31 * MiB, 3 * MiB],
] as const;
const beforeBytes = BEFORE.reduce((sum, [, length]) => sum + length, 0);
/** Bytes: what the kernel reads ahead in pieces that are dropped as a whole or not at all. */
const SLACK = 512 * 1024;

const onDisk = filesystemOfMagic(statfsSync(directory).type).kind === 'local';
const reason = !onDisk
  ? 'the temporary directory is not on a disk'
  : residentBytes(source) === undefined
    ? 'this kernel does not tell what is in its page cache'
    : undefined;
if (reason !== undefined) test.skip(`the page cache as it was: ${reason}`, () => {});
const cacheTest = (reason === undefined ? test.serial : test.serial.skip) as TestFn;

const fresh = (): string => join(directory, `target-${files++}`);

async function received(send: (response: http.ServerResponse) => void): Promise<number> {
  const server = http.createServer((_request, response) => send(response)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  let bytes = 0;
  for await (const chunk of response.body ?? []) bytes += (chunk as Uint8Array).length;
  server.closeAllConnections();
  server.close();
  return bytes;
}

/** Each moves the file, and says which files it has written. */
const WAYS: Readonly<Record<string, (cache: 'keep' | 'drop') => Promise<string | undefined>>> = {
  async copyFile(cache) {
    const target = fresh();
    await copyFile(source, target, { cache, reflink: 'never' });
    return target;
  },
  async 'copyFile by copy_file_range'(cache) {
    const target = fresh();
    await copyFile(source, target, { cache });
    return target;
  },
  async sendFile(cache) {
    await received((response) => void sendFile(response, source, { cache }).catch(() => {}));
    return undefined;
  },
  async createSendfileStream(cache) {
    await received((response) => createSendfileStream(source, { cache }).pipe(response));
    return undefined;
  },
  async 'createSendfileStream, read'(cache) {
    for await (const _ of createSendfileStream(source, { cache, highWaterMark: MiB }));
    return undefined;
  },
  async createMmapReadStream(cache) {
    for await (const _ of createMmapReadStream(source, { cache }));
    await collectGarbage();
    return undefined;
  },
  async 'splice into a file'(cache) {
    const target = fresh();
    const { server: near, client: far } = await connectedPair('tcp');
    const file = await open(target, 'w');
    far.end(content);
    await splice(near, file, { cache });
    await file.close();
    near.destroy();
    far.destroy();
    return target;
  },
  async createSpliceWriteStream(cache) {
    const target = fresh();
    const { server: near, client: far } = await connectedPair('tcp');
    far.end(content);
    await pipeline(near, createSpliceWriteStream(target, { cache }));
    near.destroy();
    far.destroy();
    return target;
  },
  async 'createSpliceWriteStream, written to'(cache) {
    const target = fresh();
    const stream = createSpliceWriteStream(target, { cache, highWaterMark: MiB });
    for (let at = 0; at < SIZE; at += MiB) stream.write(content.subarray(at, at + MiB));
    stream.end();
    await once(stream, 'close');
    return target;
  },
};

/** Every day; the others with the numbers of a release. */
const SAMPLE = ['copyFile', 'createSendfileStream', 'createSpliceWriteStream', 'createMmapReadStream'];

for (const [name, move] of Object.entries(WAYS)) {
  if (!isLongRun && !SAMPLE.includes(name)) continue;
  cacheTest(`${name}: the page cache as it was`, async (t) => {
    const resident = (path: string): number => residentBytes(path) as number;
    rmSync(source);
    source = newSource();
    evict(source);
    for (const [start, length] of BEFORE) touch(source, start, length);
    const before = resident(source);
    t.true(before >= beforeBytes && before <= beforeBytes + 4 * MiB, `${before} bytes`); // large folios
    for (const [start, length] of BEFORE) t.is(residentBytes(source, start, length), length, 'what is there');
    const target = await move('drop');
    await until(() => resident(source) <= before + SLACK, `${name}: the source dropped`);
    for (const [start, length] of BEFORE)
      t.is(residentBytes(source, start, length), length, 'what was there has stayed');
    if (target === undefined) return;
    await until(() => resident(target) <= SLACK, `${name}: the target dropped`);
    t.true(readFileSync(target).equals(content));
    rmSync(target);
  });
}

cacheTest('without it the pages stay, and dontNeed takes them out', async (t) => {
  evict(source);
  const target = (await (WAYS.copyFile as (cache: 'keep') => Promise<string>)('keep')) as string;
  t.true((residentBytes(source) as number) >= SIZE);
  t.true((residentBytes(target) as number) >= SIZE);
  const fd = openSync(target, 'r+');
  await dontNeed(fd, 0, 8 * MiB);
  t.is(residentBytes(target, 0, 8 * MiB), 0);
  t.true((residentBytes(target) as number) >= SIZE - 8 * MiB);
  await dontNeed(fd);
  t.is(residentBytes(target), 0);
  closeSync(fd);
  await t.throwsAsync(dontNeed(-1), { code: 'EBADF' });
  await t.throwsAsync(dontNeed('x' as never), { code: 'ERR_INVALID_ARG_TYPE' });
  t.true(readFileSync(target).equals(content));
});
