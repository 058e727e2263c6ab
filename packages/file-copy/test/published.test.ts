/** Every copy is published once, however it goes: start, and how it ended. */
import { tracingChannel } from 'node:diagnostics_channel';
import { linkSync } from 'node:fs';
import { TRANSFER_CHANNEL, type TransferTrace } from '@zerocopy/core-syscalls';
import { copyFile } from '@zerocopy/file-copy';
import test from 'ava';
import { fresh, MiB, makeFile, pattern, temporaryDirectory } from './harness.js';

const directory = temporaryDirectory();

test.serial('by any method, onto itself, aborted, refused: one start, one end', async (t) => {
  const events: [string, TransferTrace][] = [];
  const heard = (name: string) => (trace: unknown) => void events.push([name, trace as TransferTrace]);
  const subscribers = {
    start: heard('start'),
    end() {},
    asyncStart() {},
    asyncEnd: heard('asyncEnd'),
    error: heard('error'),
  };
  const channel = tracingChannel(TRANSFER_CHANNEL);
  channel.subscribe(subscribers as never);
  const source = makeFile(directory, pattern(MiB));
  const other = fresh(directory);
  linkSync(source, other);
  const during = async (copy: () => Promise<unknown>): Promise<[string, TransferTrace][]> => {
    events.length = 0;
    await copy().catch(() => {});
    return [...events];
  };
  try {
    for (const reflink of ['auto', 'never'] as const) {
      const destination = fresh(directory);
      const trace = await during(() => copyFile(source, destination, { reflink }));
      t.deepEqual(
        trace.map(([name]) => name),
        ['start', 'asyncEnd'],
      );
      t.is(trace[1]?.[1].result?.bytes, MiB);
      t.like(trace[0]?.[1].detail, { path: source, dest: destination, source: 'file', destination: 'file' });
    }
    const same = await during(() => copyFile(source, other));
    t.deepEqual(
      same.map(([name]) => name),
      ['start', 'asyncEnd'],
    );
    t.like(same[1]?.[1].result, { bytes: 0, fallbackReason: 'source and destination are the same file' });
    const controller = new AbortController();
    const onProgress = (): void => controller.abort();
    const aborted = await during(() => copyFile(source, fresh(directory), { signal: controller.signal, onProgress }));
    t.true(aborted.length <= 3 && aborted[0]?.[0] === 'start' && aborted.at(-1)?.[0] === 'asyncEnd');
    const empty = await during(() => copyFile(makeFile(directory, ''), fresh(directory)));
    t.deepEqual(
      empty.map(([name]) => name),
      ['start', 'asyncEnd'],
    );
  } finally {
    channel.unsubscribe(subscribers as never);
  }
});
