/** Many transfers at once into one stream are no leak, and Node is not to warn of one. */
import { PassThrough, Readable } from 'node:stream';
import { splice } from '@zerocopy/splice-pipe';
import { withPair } from '@zerocopy/testing/sockets';
import { turn } from '@zerocopy/testing/waiting';
import test from 'ava';

test.serial('twenty copies at once into one stream, and into one socket: all of them, and no warning', async (t) => {
  const warnings: string[] = [];
  const onWarning = ({ message }: Error): void => void warnings.push(message);
  process.on('warning', onWarning);
  try {
    await withPair('tcp', async ({ server, client }) => {
      client.resume();
      for (const sink of [new PassThrough().resume(), server]) {
        const before = { error: sink.listenerCount('error'), close: sink.listenerCount('close') };
        const copies = Array.from({ length: 20 }, () => splice(Readable.from([Buffer.alloc(1000)]), sink));
        for (const { bytes } of await Promise.all(copies)) t.is(bytes, 1000);
        await turn();
        t.deepEqual({ error: sink.listenerCount('error'), close: sink.listenerCount('close') }, before);
      }
    });
    await turn(); // warnings are emitted in a later tick
  } finally {
    process.off('warning', onWarning);
  }
  t.deepEqual(warnings, []);
});
