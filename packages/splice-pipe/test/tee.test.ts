/** tee(): one source, several destinations, every byte to each. */
import { getEventListeners, once } from 'node:events';
import { readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { pipePoolStats, type TeeError, tee } from '@zerocopy/splice-pipe';
import test from 'ava';
import {
  collect,
  gather,
  kernelSerial,
  kernelTest,
  MiB,
  openDescriptors,
  pattern,
  pause,
  sha256,
  teeFallback,
  teeTest,
  temporaryDirectory,
  until,
  withPair,
} from './harness.js';

const directory = temporaryDirectory();

/** A source, and any number of destinations. */
async function withTee<T>(
  kinds: readonly ('tcp' | 'unix')[],
  use: (ends: { writer: Socket; source: Socket; destinations: Socket[]; readers: Socket[] }) => Promise<T>,
): Promise<T> {
  const [destinations, readers]: [Socket[], Socket[]] = [[], []];
  const rest = (left: readonly ('tcp' | 'unix')[], ends: { writer: Socket; source: Socket }): Promise<T> => {
    const [kind, ...more] = left;
    if (kind === undefined) return use({ ...ends, destinations, readers });
    return withPair(kind, directory, ({ server, client }) => {
      client.on('error', () => {});
      destinations.push(server);
      readers.push(client);
      return rest(more, ends);
    });
  };
  return withPair('tcp', directory, ({ server: source, client: writer }) => {
    writer.on('error', () => {});
    return rest(kinds, { writer, source });
  });
}

async function failure(result: Promise<unknown>): Promise<TeeError> {
  return result.then(
    () => {
      throw new Error('it did not fail');
    },
    (reason: TeeError) => reason,
  );
}

teeTest('to sockets and files: every byte to each, whatever the size, and no copy', async (t) => {
  for (const size of [0, 1, 4096, 100_000, 9 * MiB + 5]) {
    await withTee(['tcp', 'unix'], async ({ writer, source, destinations, readers }) => {
      const path = join(directory, `recorded-${size}`);
      const file = await open(path, 'w');
      const content = pattern(size);
      const received = readers.map((reader) => collect(reader));
      writer.end(content);
      const result = await tee(source, [...destinations, file]);
      for (const destination of destinations) destination.end();
      await file.close();
      t.is(result.bytes, size);
      t.deepEqual(
        result.destinations,
        Array.from({ length: 3 }, () => ({ bytes: size })),
      );
      if (size > MiB) t.is(result.method, 'splice');
      for (const one of await Promise.all(received)) t.is(sha256(one), sha256(content));
      t.is(sha256(readFileSync(path)), sha256(content));
    });
  }
});

kernelTest('a length: exactly so much, and the rest stays in the source', async (t) => {
  await withTee(['tcp', 'tcp'], async ({ writer, source, destinations, readers }) => {
    const content = pattern(3 * MiB);
    const received = readers.map(gather);
    writer.end(content);
    t.is((await tee(source, destinations, { length: 1_000_001 })).bytes, 1_000_001);
    t.is(sha256(await collect(source)), sha256(content.subarray(1_000_001)));
    for (const one of received) {
      await until(() => one.bytes().length === 1_000_001);
      t.true(one.bytes().equals(content.subarray(0, 1_000_001)));
    }
  });
});

kernelTest('the slowest sets the pace: nothing is lost, and no more than a piece is between them', async (t) => {
  await withTee(['tcp', 'tcp'], async ({ writer, source, destinations, readers }) => {
    const content = pattern(24 * MiB);
    const [fast, slow] = readers as [Socket, Socket];
    const quick = gather(fast);
    slow.pause();
    const result = tee(source, destinations);
    writer.end(content);
    let before = -1;
    while (quick.bytes().length !== before) {
      before = quick.bytes().length;
      await pause(150);
    }
    t.true(before < content.length, 'the fast one waits');
    const late = collect(slow);
    slow.resume();
    t.is((await result).bytes, content.length);
    for (const destination of destinations) destination.end();
    t.is(sha256(await late), sha256(content));
    await until(() => quick.bytes().length === content.length);
  });
});

// Alone in its process: what others of this file compute would count as the fast one's slowness.
for (const how of ['by the kernel', 'copied']) {
  kernelSerial(
    `dropAfter, ${how}: who keeps the others waiting is dropped, destroyed, and named; the others get all`,
    async (t) => {
      await withTee(['tcp', 'tcp'], async ({ writer, source, destinations, readers }) => {
        const content = pattern(24 * MiB);
        const [fast, stalled] = readers as [Socket, Socket];
        stalled.pause();
        const all = collect(fast);
        const from = how === 'copied' ? source.pipe(new PassThrough()) : source;
        const result = tee(from, destinations, { dropAfter: 1000 });
        writer.end(content);
        const {
          bytes,
          destinations: [first, second],
        } = await result;
        t.is(bytes, content.length);
        t.deepEqual(first, { bytes: content.length });
        t.is(second?.error?.code, 'ERR_DESTINATION_TOO_SLOW');
        t.true((second?.bytes ?? 0) < content.length);
        t.true(destinations[1]?.destroyed);
        destinations[0]?.end();
        t.is(sha256(await all), sha256(content));
      });
    },
  );
}

kernelTest('a destination that fails is dropped; when all have failed, or the source, it rejects', async (t) => {
  await withTee(['tcp', 'tcp'], async ({ writer, source, destinations, readers }) => {
    const content = pattern(16 * MiB);
    const [stays, leaves] = readers as [Socket, Socket];
    const all = collect(stays);
    leaves.once('data', () => leaves.resetAndDestroy());
    const result = tee(source, destinations);
    writer.end(content);
    const { destinations: told } = await result;
    t.deepEqual(told[0], { bytes: content.length });
    t.regex(told[1]?.error?.code ?? '', /ECONNRESET|EPIPE/);
    destinations[0]?.end();
    t.is(sha256(await all), sha256(content));
  });
  await withTee(['tcp', 'tcp'], async ({ writer, source, destinations, readers }) => {
    for (const reader of readers) reader.once('data', () => reader.resetAndDestroy());
    writer.write(pattern(32 * MiB));
    const error = await failure(tee(source, destinations));
    t.is(error.destinations.length, 2);
    t.true(error.destinations.every((one) => one.error !== undefined));
  });
  await withTee(['tcp', 'unix'], async ({ writer, source, destinations, readers }) => {
    const received = readers.map(gather);
    const result = tee(source, destinations);
    writer.write(pattern(MiB));
    await until(() => received.every((one) => one.bytes().length === MiB));
    writer.resetAndDestroy();
    const error = await failure(result);
    t.is(error.code, 'ECONNRESET');
    t.is(error.bytes, MiB);
    t.false(destinations.some(({ destroyed }) => destroyed));
  });
});

kernelTest('a source that its owner destroys is a reset, also between two pieces', async (t) => {
  for (let round = 0; round < 8; round++) {
    await withTee(['tcp'], async ({ writer, source, destinations, readers }) => {
      const received = gather(readers[0] as Socket);
      writer.write(pattern(8 * MiB));
      // In the same turn of the loop as the next piece, just before it, and before the socket tells of its end.
      const destroy = (): void => {
        if (received.bytes().length > (round + 1) * 300_000) source.destroy();
        else setImmediate(destroy);
      };
      const rejected = failure(tee(source, destinations));
      destroy();
      t.is((await rejected).code, 'ECONNRESET');
    });
  }
});

kernelTest('aborted: it stops, and the streams stay', async (t) => {
  await withTee(['tcp', 'tcp'], async ({ writer, source, destinations, readers }) => {
    const received = readers.map(gather);
    const controller = new AbortController();
    const result = tee(source, destinations, { signal: controller.signal });
    writer.write(pattern(MiB));
    await until(() => received.every((one) => one.bytes().length === MiB));
    controller.abort();
    const error = await failure(result);
    t.is(error.code, 'ABORT_ERR');
    t.is(error.bytes, MiB);
    for (const [n, destination] of destinations.entries()) {
      destination.write('|');
      await until(() => received[n]?.bytes().length === MiB + 1);
    }
    writer.write('more');
    t.is(String((await once(source, 'data'))[0]), 'more');
  });
});

teeTest("aborted, or a destination lost, while turns are waited for: nobody's turn is kept", async (t) => {
  for (const how of ['abort', 'destroy'] as const) {
    await withTee(['tcp', 'tcp'], async ({ source, destinations, readers }) => {
      const [free, busy] = destinations as [Socket, Socket];
      busy.on('error', () => {});
      readers[1]?.pause();
      busy.write(Buffer.alloc(32 * MiB)); // its turn does not come: nobody reads
      let nodes: string | undefined;
      busy.write('what Node says of a write that waits', (error) => {
        nodes = (error as NodeJS.ErrnoException | null)?.code;
      });
      const received = gather(readers[0] as Socket);
      const controller = new AbortController();
      const result = tee(source, [free, busy], { signal: controller.signal });
      await new Promise((resolve) => setImmediate(resolve));
      if (how === 'abort') controller.abort();
      else busy.destroy();
      t.is((await failure(result)).code, how === 'abort' ? 'ABORT_ERR' : ((nodes as string | undefined) ?? ''));
      t.is(getEventListeners(controller.signal, 'abort').length, 0);
      free.write('|');
      await until(() => received.bytes().length === 1);
    });
  }
});

kernelTest('with a stream that the kernel cannot reach everything is copied, and says so', async (t) => {
  await withTee(['tcp'], async ({ writer, source, destinations, readers }) => {
    const through = new PassThrough();
    const received = [collect(through), collect(readers[0] as Socket)];
    writer.end(pattern(200_000));
    const result = await tee(source, [through, ...destinations]);
    through.end();
    destinations[0]?.end();
    const fallbackReason = teeFallback('the destination is not a socket but a PassThrough');
    t.like(result, { bytes: 200_000, method: 'copy', fallbackReason });
    for (const one of await Promise.all(received)) t.true(one.equals(pattern(200_000)));
  });
});

test('what is none is refused', async (t) => {
  await withPair('tcp', directory, async ({ server, client }) => {
    const call = tee as (...args: unknown[]) => Promise<unknown>;
    for (const [args, code] of [
      [[server, []], 'ERR_INVALID_ARG_TYPE'],
      [[server, client], 'ERR_INVALID_ARG_TYPE'],
      [[{}, [client]], 'ERR_INVALID_ARG_TYPE'],
      [[server, [{}]], 'ERR_INVALID_ARG_TYPE'],
      [[server, [client], { dropAfter: -1 }], 'ERR_OUT_OF_RANGE'],
      [[server, [client], { length: -1 }], 'ERR_OUT_OF_RANGE'],
      [[server, [client], { signal: 1 }], 'ERR_INVALID_ARG_TYPE'],
      [[server, [client], { signal: AbortSignal.abort() }], 'ABORT_ERR'],
    ] as const) {
      await t.throwsAsync(call(...args), { code });
    }
    client.write('untouched');
    t.is(String((await once(server, 'data'))[0]), 'untouched');
  });
});

kernelSerial('hundreds, ended in every way, leave no descriptor and no pipe', async (t) => {
  const round = async (count: number): Promise<void> => {
    for (let n = 0; n < count; n++) {
      await withTee(['unix', 'unix'], async ({ writer, source, destinations, readers }) => {
        for (const reader of readers) reader.resume();
        for (const socket of [source, ...destinations]) socket.on('error', () => {});
        const file = await open(join(directory, 'again'), 'w');
        const controller = new AbortController();
        const result = tee(source, [...destinations, file], { signal: controller.signal });
        writer.write(Buffer.alloc(300_000));
        for (let turns = n % 7; turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve));
        if (n % 4 === 0) controller.abort();
        else if (n % 4 === 1) source.destroy();
        else if (n % 4 === 2) destinations[0]?.destroy();
        writer.end();
        await result.catch(() => {});
        await file.close();
      });
    }
    await until(() => pipePoolStats().idle + pipePoolStats().inUse === 0, 'the pool is empty');
  };
  await round(20);
  const before = openDescriptors();
  await round(200);
  await until(() => openDescriptors() <= before, 'descriptors back');
  t.pass();
});
