/** Every copy is published once, however it goes: start, and how it ended. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { channel as channelOf, tracingChannel } from 'node:diagnostics_channel';
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

test('callbacks of parallel copies run in the async context of their callers, by every method', async (t) => {
  const store = new AsyncLocalStorage<number>();
  const source = makeFile(directory, pattern(MiB));
  const seen: [number, number | undefined][] = [];
  await Promise.all(
    Array.from({ length: 8 }, (_, id) =>
      store.run(id, async () => {
        const reflink = id % 2 === 0 ? 'auto' : 'never';
        await copyFile(source, fresh(directory), { reflink, onProgress: () => seen.push([id, store.getStore()]) });
        seen.push([id, store.getStore()]);
      }),
    ),
  );
  t.true(seen.length >= 16);
  for (const [id, current] of seen) t.is(current, id);
});

test.serial('a store bound to the start of the channel is in force in the callbacks of a copy', async (t) => {
  const store = new AsyncLocalStorage<string>();
  const start = channelOf(`tracing:${TRANSFER_CHANNEL}:start`);
  start.bindStore(store, () => 'a span');
  t.teardown(() => start.unbindStore(store));
  const seen: unknown[] = [];
  await copyFile(makeFile(directory, pattern(MiB)), fresh(directory), {
    onProgress: () => seen.push(store.getStore()),
  });
  t.true(seen.length > 0);
  t.deepEqual(new Set(seen), new Set(['a span']));
});
