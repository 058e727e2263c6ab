/** Files of every kind, warm and cold. */

import { execFileSync } from 'node:child_process';
import diagnosticsChannel from 'node:diagnostics_channel';
import {
  closeSync,
  createReadStream,
  fsyncSync,
  ftruncateSync,
  openSync,
  renameSync,
  statfsSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { constants, feature, syscalls, type TransferTrace } from '@zerocopy/core-syscalls';
import { createSendfileStream, sendFile } from '@zerocopy/sendfile-stream';
import test, { type TestFn } from 'ava';
import {
  collect,
  get,
  KiB,
  kernelTest,
  MiB,
  openDescriptors,
  pattern,
  temporaryDirectory,
  until,
  withHttpServer,
  withSockets,
  writeFile,
} from './harness.js';

const directory = temporaryDirectory();
const content = pattern(900 * KiB);
type Make = typeof createReadStream;
const makers: readonly Make[] = [createReadStream, createSendfileStream as unknown as Make];

/** What a unix socket's peer receives, or the error's code. */
async function received(make: Make, path: string, options: object = {}): Promise<string> {
  let answer = '';
  await withSockets('unix', async (server, client) => {
    const bytes = collect(client);
    try {
      await pipeline(make(path, options), server);
      answer = (await bytes).toString('latin1');
    } catch (error) {
      answer = `error ${(error as NodeJS.ErrnoException).code}`;
      server.destroy();
      await bytes.catch(() => {});
    }
  });
  return answer;
}

async function same(path: string, options: object = {}): Promise<string> {
  const [nodes, ours] = [
    await received(makers[0] as Make, path, options),
    await received(makers[1] as Make, path, options),
  ];
  if (nodes !== ours) throw new Error(`${path}: Node ${nodes.slice(0, 60)}, ours ${ours.slice(0, 60)}`);
  return ours;
}

test('directories, what is missing, and what may not be read: the errors of fs.createReadStream', async (t) => {
  t.is(await same(directory), 'error EISDIR');
  t.is(await same(join(directory, 'missing')), 'error ENOENT');
  t.is(await same(join(directory, 'missing', 'further')), 'error ENOENT');
  const loop = join(directory, 'loop');
  symlinkSync(loop, loop);
  t.is(await same(loop), 'error ELOOP');
  t.is(await same(join(directory, 'x'.repeat(300))), 'error ENAMETOOLONG');
});

kernelTest('empty files, links, ranges to the byte and beyond the end', async (t) => {
  const path = writeFile(join(directory, 'ranges'), content);
  symlinkSync(path, join(directory, 'link'));
  t.is((await same(join(directory, 'link'))).length, content.length);
  t.is(await same(writeFile(join(directory, 'empty'), Buffer.alloc(0))), '');
  for (const [start, end] of [
    [0, 0],
    [0, 4095],
    [4095, 4096],
    [65_535, 131_072],
    [content.length - 1, content.length - 1],
    [content.length - 1, content.length + 5000],
    [content.length, content.length + 1],
    [content.length + 1, Number.POSITIVE_INFINITY],
  ] as const) {
    const bytes = await same(path, { start, end });
    t.true(bytes === content.toString('latin1', start, Math.min(end + 1, content.length)), `${start}–${end}`);
  }
});

kernelTest('/proc and /sys have no sizes to believe, devices have none: read, and the right bytes', async (t) => {
  t.true((await same('/proc/self/status', { end: 20 })).startsWith('Name:'));
  t.true((await same('/proc/version')).startsWith('Linux version'));
  t.is(await same('/dev/null'), '');
  t.is(await same('/dev/zero', { end: 100_000 }), '\0'.repeat(100_001));
  t.true((await same('/sys/kernel/mm/transparent_hugepage/enabled').catch(() => 'never')).includes('never'));
  const stream = createSendfileStream('/proc/version');
  await withSockets('unix', async (server) => pipeline(stream, server));
  t.is(stream.method, 'copy');
});

kernelTest('a FIFO is read as it comes, without holding the process up', async (t) => {
  const fifo = join(directory, 'fifo');
  execFileSync('mkfifo', [fifo]);
  await withSockets('unix', async (server, client) => {
    const bytes = collect(client);
    const stream = createSendfileStream(fifo);
    const done = pipeline(stream, server);
    let turns = 0;
    for (; turns < 5; turns++) await new Promise((resolve) => setImmediate(resolve));
    // The reader waits for us in the thread pool; the loop has gone on.
    const writer = await new Promise<number>((resolve, reject) => {
      import('node:fs').then(
        ({ open }) => open(fifo, 'w', (error, fd) => (error ? reject(error) : resolve(fd))),
        reject,
      );
    });
    for (const part of ['one ', 'two ', 'three']) writeSync(writer, part);
    closeSync(writer);
    await done;
    t.is((await bytes).toString(), 'one two three');
    t.is(stream.method, 'copy');
  });
});

kernelTest('a file that is replaced or removed while it is sent: the bytes of the one that was opened', async (t) => {
  for (const what of ['replaced', 'removed']) {
    const path = writeFile(join(directory, what), Buffer.alloc(16 * MiB, 'o'));
    const before = openDescriptors();
    await withSockets('tcp', async (server, client) => {
      const stream = createSendfileStream(path);
      stream.once('progress', () => {
        if (what === 'removed') unlinkSync(path);
        else renameSync(writeFile(join(directory, 'new'), Buffer.alloc(8 * MiB, 'n')), path);
      });
      const bytes = collect(client);
      await pipeline(stream, server);
      t.true((await bytes).equals(Buffer.alloc(16 * MiB, 'o')), what);
      t.is(stream.method, 'sendfile');
    });
    await until(() => openDescriptors() <= before, 'the removed file is closed too');
  }
});

kernelTest('a file of more than 4 GiB: Content-Length and range to the byte', async (t) => {
  const path = join(directory, 'huge');
  const fd = openSync(path, 'w');
  ftruncateSync(fd, 2 ** 32 + 2 ** 20);
  const edge = pattern(64 * KiB);
  writeSync(fd, edge, 0, edge.length, 2 ** 32 - 32 * KiB);
  closeSync(fd);
  await withHttpServer(
    async (request, response) => {
      if (request.method === 'HEAD') await sendFile(response, path);
      else
        await pipeline(
          createSendfileStream(path, { start: 2 ** 32 - 32 * KiB, end: 2 ** 32 + 32 * KiB - 1 }),
          response,
        );
    },
    async (port) => {
      t.is((await get(port, { method: 'HEAD' })).headers['content-length'], String(2 ** 32 + 2 ** 20));
      const { body, headers } = await get(port);
      t.is(headers['content-length'], String(64 * KiB));
      t.true(body.equals(edge));
    },
  );
});

/** Why it cannot be told here what is cold; undefined: it can. */
function whyNotTold(): string | undefined {
  if (!feature('preadvNowait').available || !feature('cachestat').available)
    return 'no RWF_NOWAIT, or no cachestat to see what is cold';
  if ([0x01021994, 0x858458f6].includes(statfsSync(directory).type)) return 'the temporary directory is in memory';
  const fd = openSync(writeFile(join(directory, 'warm'), pattern(1)), 'r');
  const read = syscalls.preadv2(fd, syscalls.createIovec(Buffer.alloc(1)), 0, constants.RWF_NOWAIT);
  closeSync(fd);
  return read < 0 ? 'RWF_NOWAIT is refused by the filesystem of the temporary directory, as by overlayfs' : undefined;
}
const notTold = whyNotTold();
const coldTest = (notTold === undefined ? kernelTest : test.skip) as TestFn;
const coldTitle = (title: string): string => (notTold === undefined ? title : `${title} (${notTold})`);

/** Writes a file and puts it out of the page cache. Returns whether that could be done. */
function makeCold(path: string, bytes: Buffer): boolean {
  const fd = openSync(writeFile(path, bytes), 'r');
  fsyncSync(fd);
  syscalls.posixFadvise(fd, 0, 0, constants.POSIX_FADV_DONTNEED);
  // Not by reading: even RWF_NOWAIT starts the read-ahead of what it does not find.
  const counts = new BigUint64Array(5);
  const answer = syscalls.cachestat(fd, new BigUint64Array(2), counts);
  closeSync(fd);
  return answer === 0 && counts[0] === 0n;
}

/** The traces of the transfers that end while `run` runs. */
async function traced(path: string, run: () => Promise<void>): Promise<TransferTrace[]> {
  const traces: TransferTrace[] = [];
  const listener = (message: unknown): void => {
    const trace = message as TransferTrace;
    if (trace.detail?.source === path) traces.push(trace);
  };
  diagnosticsChannel.subscribe('tracing:zerocopy:transfer:asyncEnd', listener);
  try {
    await run();
  } finally {
    diagnosticsChannel.unsubscribe('tracing:zerocopy:transfer:asyncEnd', listener);
  }
  return traces;
}

coldTest(coldTitle('a cold file is sent by other threads only: no call on the loop touches it'), async (t) => {
  const path = join(directory, 'cold');
  if (!makeCold(path, content)) {
    t.log('this filesystem does not let its pages go: nothing was cold');
    return t.pass();
  }
  const [cold] = await traced(path, () =>
    withSockets('unix', async (server, client) => {
      const bytes = collect(client);
      await pipeline(createSendfileStream(path), server);
      t.true((await bytes).equals(content));
    }),
  );
  // Whatever the socket let through in one call, the first one, on all of the cold range, was not made on the loop.
  t.is(cold?.result?.method, 'sendfile');
  t.true((cold?.offThread ?? 0) >= 1, `${cold?.offThread} of ${cold?.result?.syscalls} calls`);

  // Now that it is warm, nothing needs another thread.
  const [warm] = await traced(path, () =>
    withSockets('unix', async (server, client) => {
      const bytes = collect(client);
      await pipeline(createSendfileStream(path), server);
      t.true((await bytes).equals(content));
    }),
  );
  t.is(warm?.offThread, 0);
});

coldTest(coldTitle('a cold small file is not read on the loop either'), async (t) => {
  const path = join(directory, 'cold-small');
  const bytes = pattern(20 * KiB);
  if (!makeCold(path, bytes)) {
    t.log('this filesystem does not let its pages go: nothing was cold');
    return t.pass();
  }
  await withHttpServer(
    async (_request, response) => {
      await sendFile(response, path);
    },
    async (port) => {
      const traces = await traced(path, async () => {
        t.true((await get(port)).body.equals(bytes));
      });
      t.deepEqual(
        traces.map(({ method }) => method),
        ['sendfile'],
        'cold, it is not copied with the headers',
      );
      const again = await traced(path, async () => {
        t.true((await get(port)).body.equals(bytes));
      });
      t.deepEqual(
        again.map(({ method }) => method),
        ['copy'],
        'warm, it goes with the headers',
      );
    },
  );
});

kernelTest("hostile names are the file's business: no crash, Node's own error", async (t) => {
  t.throws(() => createSendfileStream('a\0b'), { code: 'ERR_INVALID_ARG_VALUE' });
  await withSockets('unix', async (server) => {
    await t.throwsAsync(sendFile(server, 'a\0b'), { code: 'ERR_INVALID_ARG_VALUE' });
    await t.throwsAsync(sendFile(server, ''), { code: 'ENOENT' });
    await t.throwsAsync(sendFile(server, 12_345_678), { code: 'EBADF' });
  });
});

kernelTest('a block device is read, or refused, as by fs.createReadStream', async (t) => {
  const device = ['/dev/vda', '/dev/sda', '/dev/nvme0n1', '/dev/loop0'].find((name) => {
    try {
      return statSync(name).isBlockDevice();
    } catch {
      return false;
    }
  });
  if (device === undefined) {
    t.log('there is no block device here');
    return t.pass();
  }
  const bytes = await same(device, { end: 8191 });
  t.true(bytes.length === 8192 || /^error E(ACCES|NXIO|PERM)/.test(bytes) || bytes === '', bytes.slice(0, 40));
});
