/**
 * A signal that has been aborted before its stream is made: the events of Node's own stream, which opens the file all the
 * same; but of ours none stays open, as Node's does.
 */
import { createReadStream, createWriteStream, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { createDirectReadStream, createDirectWriteStream } from '@zerocopy/direct-io';
import { createMmapReadStream } from '@zerocopy/mmap-buffer';
import { createSendfileStream } from '@zerocopy/sendfile-stream';
import { createSpliceWriteStream } from '@zerocopy/splice-pipe';
import { temporaryDirectory } from '@zerocopy/testing/files';
import { descriptorTargets } from '@zerocopy/testing/holdings';
import { until } from '@zerocopy/testing/waiting';
import test from 'ava';

type Make = (path: string | URL, options: object) => Readable | Writable;

const directory = temporaryDirectory();
let count = 0;

function newFile(): string {
  const path = join(directory, `file-${count++}`);
  writeFileSync(path, 'some bytes');
  return path;
}

const isOpen = (path: string): boolean => [...descriptorTargets().values()].includes(path);

async function eventsOf(make: Make, path: string | URL, options: object): Promise<string[]> {
  const events: string[] = [];
  const stream = make(path, { ...options, signal: AbortSignal.abort() });
  for (const name of ['open', 'ready', 'end', 'finish', 'close']) stream.on(name, () => events.push(name));
  stream.on('error', ({ code }: NodeJS.ErrnoException) => events.push(`error ${code}`));
  await until(() => events.includes('ready'), "the event 'ready'");
  return events;
}

const readers: Readonly<Record<string, Make>> = {
  createSendfileStream,
  createMmapReadStream,
  createDirectReadStream,
};
const writers: Readonly<Record<string, Make>> = { createSpliceWriteStream, createDirectWriteStream };
const common: readonly object[] = [{}, { autoClose: false }, { emitClose: false }];
const particular: Readonly<Record<string, readonly object[]>> = {
  createSendfileStream: [{ lease: true }, { cache: 'drop' }],
  createMmapReadStream: [{ start: 2 }, { cache: 'drop' }],
  createSpliceWriteStream: [{ flush: true }, { cache: 'drop' }],
  createDirectWriteStream: [{ flush: true }, { datasync: 'end' }],
};

for (const [ours, node] of [
  [readers, createReadStream as Make],
  [writers, createWriteStream as Make],
] as const) {
  for (const [name, make] of Object.entries(ours)) {
    for (const options of [...common, ...(particular[name] ?? [])]) {
      test(`${name}(path, ${JSON.stringify(options)})`, async (t) => {
        const path = newFile();
        t.deepEqual(await eventsOf(make, path, options), await eventsOf(node, newFile(), options));
        await until(() => !isOpen(path), 'the descriptor closed');
        const url = newFile();
        await eventsOf(make, pathToFileURL(url), options);
        await until(() => !isOpen(url), 'the descriptor of a URL closed');
        t.pass();
      });
    }
  }
}
