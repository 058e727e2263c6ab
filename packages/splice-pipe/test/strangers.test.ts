/** What comes from other libraries: abort signals of their own make, options of other shapes, mocked timers. */

import { open } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { mock } from 'node:test';
import { proxy, splice, tee } from '@zerocopy/splice-pipe';
import { kernelSerial, kernelTest, MiB, pause, temporaryDirectory, withPair } from './harness.js';

const directory = temporaryDirectory();

/** As npm's abort-controller makes it: an EventTarget of its own class, with `aborted`. */
class ForeignSignal extends EventTarget {
  aborted = false;
  reason: unknown;
  onabort: null = null;
  throwIfAborted(): void {}
  abort(): void {
    this.aborted = true;
    this.dispatchEvent(new Event('abort'));
  }
}

const ways: Record<string, (source: Socket, sink: Socket, signal: AbortSignal) => Promise<unknown>> = {
  splice: (source, sink, signal) => splice(source, sink, { signal }),
  tee: (source, sink, signal) => tee(source, [sink], { signal }),
  proxy: (source, sink, signal) => proxy(source, sink, { signal }),
};

for (const [way, use] of Object.entries(ways)) {
  kernelTest(`${way}: a signal of another make aborts it; what is no signal is refused`, async (t) => {
    await withPair('tcp', directory, async ({ server: source, client }) => {
      await withPair('tcp', directory, async ({ server: sink, client: reader }) => {
        for (const peer of [client, reader]) peer.on('error', () => {}); // a proxy that fails resets them
        for (const none of [null, 1, 'signal', {}, { aborted: false }]) {
          const refused = { code: 'ERR_INVALID_ARG_TYPE', message: /'signal' must be an AbortSignal\. Received/ };
          await t.throwsAsync(use(source, sink, none as unknown as AbortSignal), refused);
        }
        const signal = new ForeignSignal();
        const moving = use(source, sink, signal as unknown as AbortSignal);
        await pause(10);
        signal.abort();
        await t.throwsAsync(moving, { code: 'ABORT_ERR' });
      });
    });
  });
}

kernelSerial('with mocked timers everything is moved all the same', async (t) => {
  mock.timers.enable();
  try {
    await withPair('tcp', directory, async ({ server: source, client }) => {
      await withPair('tcp', directory, async ({ server: sink, client: reader }) => {
        for (const peer of [client, reader]) peer.on('error', () => {}); // a proxy that fails resets them
        reader.resume();
        const file = await open(join(directory, 'mocked'), 'w+');
        client.write(Buffer.alloc(24 * MiB));
        t.is((await splice(source, sink, { length: 8 * MiB })).bytes, 8 * MiB);
        t.is((await tee(source, [sink, file], { length: 8 * MiB })).bytes, 8 * MiB);
        t.is((await splice(source, file, { length: 8 * MiB })).bytes, 8 * MiB);
        await file.close();
        t.is(
          ((await t.throwsAsync(proxy(source, sink, { idleTimeout: 50 }))) as { code?: string }).code,
          'ERR_IDLE_TIMEOUT',
        );
      });
    });
  } finally {
    mock.timers.reset();
  }
});
