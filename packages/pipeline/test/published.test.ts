/** What goes beneath a pipe is told of in the async context of whoever has piped it, as what Node calls back itself. */
import { AsyncLocalStorage } from 'node:async_hooks';
import diagnostics from 'node:diagnostics_channel';
import { once } from 'node:events';
import { createWriteStream, readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { install, pipeline } from '@zerocopy/pipeline';
import { collect, fresh, kernelTest, MiB, pattern, sha256, temporaryDirectory, until, withPair } from './harness.js';

const directory = temporaryDirectory();
const content = pattern(16 * MiB + 5);
const stores = new AsyncLocalStorage<string>();
const channel = diagnostics.tracingChannel('zerocopy:transfer');

type Told = { [event in 'start' | 'end' | 'asyncStart' | 'asyncEnd' | 'error']?: (string | undefined)[] };

/** The stores that are in force while `run` is told of, by event. */
async function toldOf(run: (isPublished: () => boolean) => Promise<void>): Promise<Told> {
  const told: Told = {};
  const note = (event: keyof Told) => (): void => {
    told[event] = [...(told[event] ?? []), stores.getStore()];
  };
  const handlers = {
    start: note('start'),
    end: note('end'),
    asyncStart: note('asyncStart'),
    asyncEnd: note('asyncEnd'),
    error: note('error'),
  };
  channel.subscribe(handlers);
  try {
    await run(() => told.start !== undefined && told.asyncEnd?.length === told.start.length);
  } finally {
    channel.unsubscribe(handlers);
  }
  return told;
}

type Join = (source: Socket, destination: Writable) => void;

const joins: readonly (readonly [string, Join])[] = [
  ['pipe() of a program that does not know of it', (source, destination) => void source.pipe(destination)],
  ['pipeline()', (source, destination) => pipeline(source, destination, () => {})],
];

for (const [name, join] of joins) {
  kernelTest(`a socket into a socket and into a file, by ${name}: told of in the context of the caller`, async (t) => {
    const uninstall = install();
    try {
      await withPair('tcp', async ({ client, server: source }) => {
        await withPair('tcp', async ({ client: receiver, server: destination }) => {
          const told = await toldOf(async (isPublished) => {
            const received = collect(receiver);
            stores.run('the caller', () => join(source, destination));
            client.end(content);
            t.is(sha256(await received), sha256(content));
            await until(() => isPublished());
          });
          t.true((told.start ?? []).length > 0, 'it went beneath');
          t.deepEqual(new Set(Object.values(told).flat()), new Set(['the caller']), JSON.stringify(told));
        });
      });
      await withPair('tcp', async ({ client, server: source }) => {
        const path = fresh(directory);
        const file = createWriteStream(path);
        const told = await toldOf(async (isPublished) => {
          stores.run('the caller', () => join(source, file));
          client.end(content);
          await once(file, 'close');
          await until(() => isPublished());
        });
        t.is(sha256(readFileSync(path)), sha256(content));
        t.true((told.start ?? []).length > 0, 'it went beneath');
        t.deepEqual(new Set(Object.values(told).flat()), new Set(['the caller']), JSON.stringify(told));
      });
    } finally {
      uninstall();
    }
  });
}
