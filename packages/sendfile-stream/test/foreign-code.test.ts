/** Subscribers of the diagnostics channel and callers who act in the middle: the state is looked at again after each. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { join } from 'node:path';
import { TransferError, type TransferTrace } from '@zerocopy/core-syscalls';
import { createSendfileStream, sendFile } from '@zerocopy/sendfile-stream';
import {
  collect,
  get,
  KiB,
  kernelSerial,
  kernelTest,
  MiB,
  openDescriptors,
  pattern,
  smallSerial,
  temporaryDirectory,
  until,
  withHttpServer,
  withSockets,
  writeFile,
} from './harness.js';

const directory = temporaryDirectory();
const START = 'tracing:zerocopy:transfer:start';

/** Calls `act` once, in the start of the next transfer of `path`. */
function atStart(path: string, act: () => void): void {
  const listener = (message: unknown): void => {
    if ((message as TransferTrace).detail?.source !== path) return;
    unsubscribe(START, listener);
    act();
  };
  subscribe(START, listener);
}

for (const [name, act, whole] of [
  ['destroys the stream', (stream) => stream.destroy(), false],
  ['unpipes it', (stream) => stream.unpipe(), false],
  ['pauses it, and lets it go on', (stream) => setTimeout(() => stream.resume(), 5) && stream.pause(), true],
  ["adds a 'data' listener", (stream) => stream.on('data', () => {}), true],
] as readonly [string, (stream: ReturnType<typeof createSendfileStream>) => void, boolean][]) {
  for (const size of [20 * KiB, 320_000]) {
    kernelSerial(`a subscriber of the start ${name} (${size} bytes): nothing of another file leaves`, async (t) => {
      const content = pattern(size);
      const path = writeFile(join(directory, `${name.replaceAll(/\W/g, '')}-${size}`), content);
      await withSockets('tcp', async (server, client) => {
        const before = openDescriptors();
        const stream = createSendfileStream(path);
        atStart(path, () => act(stream));
        const received = collect(client);
        stream.pipe(server, { end: false });
        if (whole) await until(() => stream.destroyed, 'the end');
        else await new Promise((resolve) => setTimeout(resolve, 30));
        server.end();
        t.true((await received).equals(whole ? content : Buffer.alloc(0)));
        stream.destroy();
        await until(() => stream.closed && openDescriptors() <= before, 'the descriptors returned');
      });
    });
  }
}

kernelSerial(
  'a subscriber of the start destroys the destination of sendFile, or aborts: rejected, and nothing leaks',
  async (t) => {
    for (const size of [20 * KiB, 320_000]) {
      const path = writeFile(join(directory, `sendfile-${size}`), pattern(size));
      await withSockets('tcp', async (server, client) => {
        const before = openDescriptors();
        const controller = new AbortController();
        atStart(path, () => controller.abort());
        await t.throwsAsync(sendFile(server, path, { signal: controller.signal }), { code: 'ABORT_ERR' });
        const received = collect(client);
        atStart(path, () => server.destroy());
        const error = await t.throwsAsync(sendFile(server, path), { instanceOf: TransferError });
        t.is(error?.bytes, 0);
        t.is((await received).length, 0);
        await until(() => openDescriptors() <= before);
      });
    }
  },
);

smallSerial('a subscriber of the start ends the message: an error, and no descriptor stays', async (t) => {
  const path = writeFile(join(directory, 'ended'), pattern(3000));
  let failure: unknown;
  await withHttpServer(
    (_request, response) => {
      atStart(path, () => response.end());
      sendFile(response, path).catch((error) => {
        failure = error;
      });
    },
    async (port) => {
      await get(port).catch(() => {});
      await until(() => failure !== undefined);
      t.true(failure instanceof TransferError);
    },
  );
});

kernelTest('piped, unpiped and piped again in one tick: each byte once', async (t) => {
  const content = pattern(6 * MiB);
  const path = writeFile(join(directory, 'again'), content);
  for (const when of ['open', 'at once', 'in the middle'] as const) {
    await withSockets('tcp', async (server, client) => {
      const stream = createSendfileStream(path);
      const received = collect(client);
      if (when === 'open') await new Promise<void>((resolve) => stream.once('ready', resolve));
      stream.pipe(server, { end: false });
      if (when === 'in the middle') await new Promise((resolve) => stream.once('progress', resolve));
      stream.unpipe(server);
      stream.pipe(server);
      t.true((await received).equals(content), when);
    });
  }
});
