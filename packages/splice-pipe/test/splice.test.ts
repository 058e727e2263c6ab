/** splice(): how the kernel's calls behave, every kind of end, and streams that are given back. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { connect, Socket } from 'node:net';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { constants, syscalls, TransferError } from '@zerocopy/core-syscalls';
import { pipePoolStats, proxy, type SpliceOptions, splice } from '@zerocopy/splice-pipe';
import test from 'ava';
import {
  collect,
  gather,
  KiB,
  kernelSerial,
  kernelTest,
  MiB,
  openDescriptors,
  pattern,
  pause,
  sha256,
  temporaryDirectory,
  until,
  withPair,
} from './harness.js';

const directory = temporaryDirectory();

async function failure(result: Promise<unknown>): Promise<TransferError> {
  const error = await result.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof TransferError)) throw new Error(`not a TransferError: ${error}`);
  return error;
}

/** Two pairs joined by one splice: `writer` → source ⇒ destination → `reader`. */
async function spliced<T>(
  kinds: readonly ['tcp' | 'unix', 'tcp' | 'unix'],
  use: (sockets: { writer: Socket; source: Socket; destination: Socket; reader: Socket }) => Promise<T>,
): Promise<T> {
  return withPair(kinds[0], directory, ({ server: source, client: writer }) =>
    withPair(kinds[1], directory, ({ server: destination, client: reader }) => {
      for (const socket of [writer, reader]) socket.on('error', () => {});
      return use({ writer, source, destination, reader });
    }),
  );
}

kernelTest('slots fill, not bytes: ten-byte segments against a pipe (kernel-rules: pipe-slots)', async (t) => {
  await spliced(['tcp', 'tcp'], async ({ writer, source, destination, reader }) => {
    // More segments than a pipe of 64 KiB has slots, all there before the first byte is moved.
    const count = 500;
    const content = pattern(count * 10);
    writer.setNoDelay(true);
    source.pause();
    for (let n = 0; n < count; n++) {
      writer.write(content.subarray(n * 10, n * 10 + 10));
      await new Promise((resolve) => setImmediate(resolve));
    }
    writer.end();
    const received = collect(reader);
    t.is((await splice(source, destination)).bytes, content.length);
    destination.end();
    t.true((await received).equals(content));
  });
});

kernelTest(
  'a socket in blocking mode is copied: splice would stop the event loop (kernel-rules: nonblock-both)',
  async (t) => {
    await spliced(['unix', 'unix'], async ({ writer, source, destination, reader }) => {
      const { _handle: handle } = source as unknown as { _handle: { fd: number } };
      const flags = syscalls.fcntl(handle.fd, constants.F_GETFL);
      syscalls.fcntl(handle.fd, constants.F_SETFL, flags & ~constants.O_NONBLOCK);
      const received = collect(reader);
      writer.end('bytes');
      const result = await splice(source, destination);
      syscalls.fcntl(handle.fd, constants.F_SETFL, flags);
      t.like(result, { bytes: 5, method: 'copy' });
      t.regex(result.fallbackReason ?? '', /blocking mode/);
      destination.end();
      t.is((await received).toString(), 'bytes');
    });
  },
);

kernelTest('a pause is no end, and an end is none too early (kernel-rules: zero-is-end)', async (t) => {
  for (const kind of ['tcp', 'unix'] as const) {
    await spliced([kind, kind], async ({ writer, source, destination, reader }) => {
      const received = gather(reader);
      const result = splice(source, destination);
      for (const part of ['one ', 'two ', 'three']) {
        writer.write(part);
        await until(() => received.bytes().toString().endsWith(part));
        await pause(5);
      }
      writer.end();
      t.is((await result).bytes, 13);
      t.false(destination.writableEnded);
    });
  }
});

kernelTest(
  'seqpacket and datagram sockets keep their boundaries: never spliced (kernel-rules: stream-sockets-only)',
  async (t) => {
    for (const type of [constants.SOCK_SEQPACKET, constants.SOCK_DGRAM]) {
      const fds = new Int32Array(2);
      t.is(syscalls.socketpair(1, type | constants.SOCK_NONBLOCK | constants.SOCK_CLOEXEC, 0, fds), 0);
      const [one, other] = fds as unknown as [number, number];
      await withPair('tcp', directory, async ({ server, client }) => {
        client.write('x');
        const error = await failure(splice(server, other, { fallback: 'never' }));
        t.is(error.code, 'ERR_ZEROCOPY_UNAVAILABLE');
        t.regex(error.message, /datagram or seqpacket/);
      });
      closeSync(one);
      closeSync(other);
    }
  },
);

kernelSerial('a pipe that still holds bytes is closed, and never used again (kernel-rules: dirty-pipe)', async (t) => {
  await spliced(['tcp', 'tcp'], async ({ writer, source, destination, reader }) => {
    const controller = new AbortController();
    reader.pause();
    writer.write(pattern(16 * MiB));
    const result = splice(source, destination, { signal: controller.signal });
    await until(() => pipePoolStats().inUse > 0, 'bytes wait in the pipe');
    await pause(50);
    const { inUse, idle } = pipePoolStats();
    t.deepEqual([inUse, idle], [1, 0]);
    controller.abort();
    const error = await failure(result);
    t.is(error.code, 'ABORT_ERR');
    // What was in it has been given back to the source; the pipe itself is empty now, or gone.
    await spliced(['unix', 'unix'], async (next) => {
      const received = collect(next.reader);
      next.writer.end('clean');
      await splice(next.source, next.destination);
      next.destination.end();
      t.is((await received).toString(), 'clean');
    });
    t.is(pipePoolStats().inUse, 0);
  });
});

kernelTest('an abort loses nothing: what was in the pipe is read from the source next', async (t) => {
  for (const kinds of [
    ['tcp', 'tcp'],
    ['unix', 'unix'],
  ] as const) {
    await spliced(kinds, async ({ writer, source, destination, reader }) => {
      const content = pattern(12 * MiB);
      writer.end(content);
      const controller = new AbortController();
      const received = gather(reader);
      const result = splice(source, destination, {
        signal: controller.signal,
        onProgress: (bytes) => {
          if (bytes > MiB) {
            reader.pause();
            setTimeout(() => controller.abort(), 50);
          }
        },
      });
      const error = await failure(result);
      t.is(error.code, 'ABORT_ERR');
      reader.resume();
      const rest = collect(source);
      destination.write('|');
      const left = await rest;
      await until(() => received.bytes().length === error.bytes + 1, 'what the error counts has arrived');
      const all = received.bytes();
      t.is(all.at(-1), '|'.charCodeAt(0), 'the destination is an ordinary stream again');
      t.is(sha256(Buffer.concat([all.subarray(0, -1), left])), sha256(content));
    });
  }
});

kernelTest('the last piece is not held back (kernel-rules: splice-more)', async (t) => {
  const path = join(directory, 'last-piece');
  writeFileSync(path, pattern(300 * KiB));
  const waits: number[] = [];
  for (let n = 0; n < 5; n++) {
    await spliced(['tcp', 'tcp'], async ({ writer, source, destination, reader }) => {
      destination.setNoDelay(false); // where it would be seen
      let [count, at] = [0, 0];
      reader.on('data', (chunk: Buffer) => {
        count += chunk.length;
        at = performance.now();
      });
      const file = await open(path);
      await splice(file, destination);
      await file.close();
      const done = performance.now();
      await until(() => count === 300 * KiB);
      waits.push(at - done);
      const result = splice(source, destination);
      const sent = performance.now();
      writer.write(pattern(100 * KiB)); // and the source stays open
      await until(() => count === 400 * KiB);
      waits.push(at - sent);
      writer.end();
      await result;
    });
  }
  waits.sort((a, b) => a - b);
  // A MORE on a last piece would hold back every one of them for 200 ms.
  t.true((waits[5] as number) < 50, waits.map((wait) => wait.toFixed(0)).join(' '));
});

kernelTest(
  'the peer of the destination resets: the error has a code, and counts (kernel-rules: exact-progress)',
  async (t) => {
    await spliced(['tcp', 'tcp'], async ({ writer, source, destination, reader }) => {
      writer.write(pattern(32 * MiB));
      const received = gather(reader);
      const result = splice(source, destination);
      await until(() => received.bytes().length > MiB);
      reader.resetAndDestroy();
      const error = await failure(result);
      t.true(['ECONNRESET', 'EPIPE'].includes(error.code), error.code);
      t.true(error.bytes >= received.bytes().length - 1);
      t.true(destination.destroyed);
      t.false(source.destroyed, 'nothing has failed there');
    });
  },
);

kernelTest('the peer of the source resets: an error, and never an end', async (t) => {
  await spliced(['tcp', 'tcp'], async ({ writer, source, destination, reader }) => {
    const received = gather(reader);
    const result = splice(source, destination);
    writer.write(pattern(MiB));
    await until(() => received.bytes().length === MiB);
    writer.resetAndDestroy();
    const error = await failure(result);
    t.is(error.code, 'ECONNRESET');
    t.is(error.bytes, MiB);
    t.true(source.destroyed);
    t.false(destination.destroyed);
  });
});

kernelTest(
  'a reset together with data is no end, however the bytes are read (kernel-rules: reset-as-end)',
  async (t) => {
    for (let n = 0; n < 20; n++) {
      await spliced(['tcp', 'tcp'], async ({ writer, source, destination, reader }) => {
        const received = gather(reader);
        // By splice, and, behind something small, by copying.
        const result = n % 2 === 0 ? splice(source, destination) : proxy(source, destination);
        writer.write('small');
        await until(() => received.bytes().length === 5);
        writer.write(pattern(n * 5000));
        writer.resetAndDestroy();
        t.is((await failure(result)).code, 'ECONNRESET');
      });
    }
  },
);

kernelTest('back-pressure: a stalled reader stops the writer, and holds at most one pipe', async (t) => {
  await spliced(['tcp', 'tcp'], async ({ writer, source, destination, reader }) => {
    reader.pause();
    let moved = 0;
    const controller = new AbortController();
    const result = splice(source, destination, {
      signal: controller.signal,
      onProgress: (bytes) => {
        moved = bytes;
      },
    });
    result.catch(() => {});
    const chunk = pattern(MiB);
    const feed = (): void => {
      while (writer.write(chunk));
    };
    writer.on('drain', feed);
    feed();
    let before = -1;
    while (moved !== before) {
      before = moved;
      await pause(150);
    }
    t.true(source.bytesRead - moved <= MiB, `${source.bytesRead - moved} bytes between the two`);
    t.is(source.readableLength, 0, 'nothing is read into user space meanwhile');
    controller.abort();
  });
});

kernelTest('a source that had ended, or whose bytes are in user space already, loses none of them', async (t) => {
  for (const kind of ['tcp', 'unix'] as const) {
    for (const wait of ['end', 'readable', 'nothing'] as const) {
      await spliced([kind, kind], async ({ writer, source, destination, reader }) => {
        const content = pattern(40_000);
        const received = collect(reader);
        writer.end(content);
        if (wait === 'end') {
          // read to the end by Node, and everything in its buffer
          source.read(0);
          await until(() => source.readableLength === content.length);
          await pause(20);
        } else if (wait === 'readable') {
          const readable = once(source, 'readable');
          source.read(0);
          await readable;
        }
        t.is((await splice(source, destination)).bytes, content.length);
        destination.end();
        t.true((await received).equals(content));
      });
    }
    // Whatever had been read to the last byte.
    await spliced([kind, kind], async ({ writer, source, destination }) => {
      writer.end('gone');
      await collect(source);
      t.like(await splice(source, destination), { bytes: 0 });
    });
  }
});

kernelTest('given back, both are ordinary streams: data, end and writes go on as if nothing had been', async (t) => {
  for (const kind of ['tcp', 'unix'] as const) {
    await spliced([kind, kind], async ({ writer, source, destination, reader }) => {
      const received = collect(reader);
      writer.write('0123456789');
      await splice(source, destination, { length: 4 });
      const rest = collect(source);
      writer.end('abc');
      t.is((await rest).toString(), '456789abc');
      source.write('back to the writer');
      t.is(String((await once(writer, 'data'))[0]), 'back to the writer');
      destination.end('|');
      t.is((await received).toString(), '0123|');
    });
  }
});

kernelTest('what was written before goes before, and what is written meanwhile goes after', async (t) => {
  await spliced(['tcp', 'tcp'], async ({ writer, source, destination, reader }) => {
    const content = pattern(2 * MiB);
    const [before, after] = [Buffer.alloc(300_000, 'b'), Buffer.alloc(300_000, 'a')];
    const received = collect(reader);
    destination.write(before);
    const result = splice(source, destination);
    writer.end(content);
    await new Promise((resolve) => setImmediate(resolve));
    destination.end(after);
    t.is((await result).bytes, content.length);
    t.is(sha256(await received), sha256(Buffer.concat([before, content, after])));
  });
});

kernelTest('one after the other over the same sockets, with lengths, in order', async (t) => {
  await spliced(['tcp', 'unix'], async ({ writer, source, destination, reader }) => {
    const content = pattern(3 * MiB);
    const received = collect(reader);
    writer.end(content);
    let total = 0;
    for (const length of [1, 70_000, 0, MiB, 12, 2 * MiB]) {
      const { bytes } = await splice(source, destination, { length });
      total += bytes;
    }
    destination.end();
    t.is(total, content.length);
    t.true((await received).equals(content));
  });
});

/** A process and its end, killed if the test fails. */
async function withChild<T>(command: readonly string[], use: (child: ChildProcess) => Promise<T>): Promise<T> {
  const [program = '', ...args] = command;
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const exit = once(child, 'exit');
  try {
    return await use(child);
  } finally {
    child.stdin?.destroy();
    child.kill();
    await exit;
  }
}

const writes = (bytes: number): string[] => [
  process.execPath,
  '-e',
  `process.stdout.write(Buffer.alloc(${bytes}, 'from the child '))`,
];

kernelTest("a child's stdout goes to a socket, and to a file", async (t) => {
  const expected = Buffer.alloc(2_000_003, 'from the child ');
  await withPair('tcp', directory, async ({ server, client }) => {
    await withChild(writes(expected.length), async ({ stdout }) => {
      const received = collect(client);
      t.like(await splice(stdout as Readable, server), { bytes: expected.length, method: 'splice' });
      server.end();
      t.true((await received).equals(expected));
    });
  });
  await withChild(writes(expected.length), async ({ stdout }) => {
    const path = join(directory, 'stdout');
    const file = await open(path, 'w');
    t.like(await splice(stdout as Readable, file), { bytes: expected.length, method: 'splice' });
    await file.close();
    t.true(readFileSync(path).equals(expected));
  });
});

kernelTest("a socket and a file go to a child's stdin", async (t) => {
  const content = pattern(2_000_003);
  const path = join(directory, 'for-stdin');
  writeFileSync(path, content);
  const hash = [
    process.execPath,
    '-e',
    `const hash = require('node:crypto').createHash('sha256');
     process.stdin.on('data', (chunk) => hash.update(chunk)).on('end', () => console.log(hash.digest('hex')))`,
  ];
  await withPair('tcp', directory, async ({ server, client }) => {
    await withChild(hash, async ({ stdin, stdout }) => {
      client.end(content);
      t.like(await splice(server, stdin as Socket), { bytes: content.length, method: 'splice' });
      stdin?.end();
      t.is((await collect(stdout as Readable)).toString().trim(), sha256(content));
    });
  });
  await withChild(hash, async ({ stdin, stdout }) => {
    const file = await open(path);
    t.like(await splice(file, stdin as Socket), { bytes: content.length, method: 'splice' });
    await file.close();
    stdin?.end();
    t.is((await collect(stdout as Readable)).toString().trim(), sha256(content));
  });
});

kernelSerial('a pipe goes on directly, without a second one', async (t) => {
  const fds = new Int32Array(2);
  syscalls.pipe2(fds, constants.O_CLOEXEC | constants.O_NONBLOCK);
  const [from, to] = fds as unknown as [number, number];
  const before = pipePoolStats();
  await withPair('unix', directory, async ({ server, client }) => {
    const content = pattern(MiB);
    const received = collect(client);
    const result = splice(from, server);
    const writer = new Socket({ fd: to, readable: false, writable: true });
    writer.end(content);
    t.like(await result, { bytes: MiB, method: 'splice' });
    server.end();
    t.true((await received).equals(content));
  });
  closeSync(from);
  const { created, inUse } = pipePoolStats();
  t.deepEqual([created, inUse], [before.created, 0]);
});

/** A pipe that brings `content`, as a descriptor. */
async function withPipe<T>(content: Buffer, use: (readFd: number) => Promise<T>): Promise<T> {
  const fds = new Int32Array(2);
  syscalls.pipe2(fds, constants.O_CLOEXEC | constants.O_NONBLOCK);
  const [readFd, writeFd] = fds as unknown as [number, number];
  const writer = new Socket({ fd: writeFd, readable: false, writable: true });
  writer.on('error', () => {});
  writer.end(content);
  try {
    return await use(readFd);
  } finally {
    closeSync(readFd);
    writer.destroy();
  }
}

kernelTest(
  'a pipe to a file, without a length: to the end of the pipe, whatever it holds at first (kernel-rules: max-rw-count)',
  async (t) => {
    for (const size of [0, 1, 60_000, 3 * MiB + 5]) {
      const path = join(directory, `from-pipe-${size}`);
      const file = await open(path, 'w');
      const result = await withPipe(pattern(size), (fd) => splice(fd, file));
      await file.close();
      t.like(result, { bytes: size, method: 'splice' });
      t.true(readFileSync(path).equals(pattern(size)));
    }
  },
);

kernelTest("a descriptor is read by Node where the destination is none of the kernel's", async (t) => {
  const through = new PassThrough();
  const received = collect(through);
  const result = await withPipe(pattern(300_000), (fd) => splice(fd, through));
  through.end();
  t.like(result, { bytes: 300_000, method: 'copy' });
  t.true((await received).equals(pattern(300_000)));
});

kernelTest('FIFOs by descriptor, at either end', async (t) => {
  const [one, other] = [join(directory, 'fifo-1'), join(directory, 'fifo-2')];
  execFileSync('mkfifo', [one, other]);
  const flags = constants.O_NONBLOCK | 2; // O_RDWR: opens without a peer
  const keep = [openSync(one, flags), openSync(other, flags)];
  const content = pattern(30_000);
  const from = openSync(one, constants.O_NONBLOCK);
  const to = openSync(other, constants.O_NONBLOCK | 1);
  const reader = new Socket({ fd: openSync(other, constants.O_NONBLOCK), readable: true, writable: false });
  const received = gather(reader);
  const result = splice(from, to, { length: content.length });
  writeFileSync(keep[0] as number, content);
  t.like(await result, { bytes: content.length, method: 'splice' });
  await until(() => received.bytes().length === content.length);
  t.true(received.bytes().equals(content));
  reader.destroy();
  for (const fd of [...keep, from, to]) closeSync(fd);
});

kernelTest('files: from the position of the descriptor, which moves; to the position, which moves', async (t) => {
  const path = join(directory, 'positions');
  writeFileSync(path, 'abcdefghij');
  await withPair('unix', directory, async ({ server, client }) => {
    const file = await open(path);
    await file.read(Buffer.alloc(2), 0, 2, null);
    const received = gather(client);
    t.is((await splice(file, server, { length: 3 })).bytes, 3);
    t.is((await splice(file, server, { length: 2 })).bytes, 2);
    t.is((await splice(file, server)).bytes, 3);
    t.is((await splice(file, server)).bytes, 0);
    await until(() => received.bytes().length === 8);
    t.is(received.bytes().toString(), 'cdefghij');
    await file.close();
  });
  await withPair('unix', directory, async ({ server, client }) => {
    const file = await open(path, 'r+');
    await file.write('12');
    client.end('345');
    t.is((await splice(server, file)).bytes, 3);
    await file.write('6');
    await file.close();
    t.is(readFileSync(path, 'utf8'), '123456ghij');
  });
});

kernelTest('a file that is open for appending is copied to, and says so', async (t) => {
  const path = join(directory, 'appended');
  writeFileSync(path, 'first ');
  await withPair('tcp', directory, async ({ server, client }) => {
    const file = await open(path, 'a');
    client.end('second');
    const result = await splice(server, file);
    t.like(result, { bytes: 6, method: 'copy' });
    t.regex(result.fallbackReason ?? '', /appending/);
    await file.close();
    t.is(readFileSync(path, 'utf8'), 'first second');
  });
});

kernelTest(
  '/dev/null, /dev/zero and a terminal are no ends for splice: copied, with a reason (kernel-rules: not-pollable)',
  async (t) => {
    await withPair('tcp', directory, async ({ server, client }) => {
      const fd = openSync('/dev/null', 'w');
      client.end(pattern(200_000));
      const result = await splice(server, fd);
      closeSync(fd);
      t.like(result, { bytes: 200_000, method: 'copy' });
      t.regex(result.fallbackReason ?? '', /terminal, or another device/);
    });
    await withPair('tcp', directory, async ({ server, client }) => {
      const fd = openSync('/dev/zero', 'r');
      const received = collect(client);
      t.like(await splice(fd, server, { length: 100_000 }), { bytes: 100_000, method: 'copy' });
      closeSync(fd);
      server.end();
      t.true((await received).equals(Buffer.alloc(100_000)));
    });
    const ptmx = openSync('/dev/ptmx', 'r+');
    await withPair('tcp', directory, async ({ server, client }) => {
      client.end('to a terminal\n');
      t.like(await splice(server, ptmx), { bytes: 14, method: 'copy' });
    });
    closeSync(ptmx);
  },
);

test('copied: a destination that closes, or had closed, ends it though the source brings nothing', async (t) => {
  for (const when of ['before', 'meanwhile'] as const) {
    await withPair('tcp', directory, async ({ server, client }) => {
      server.on('error', () => {});
      client.on('error', () => {});
      const silent = new PassThrough();
      if (when === 'before') server.destroy();
      const result = failure(splice(silent, server));
      if (when === 'meanwhile') client.resetAndDestroy();
      t.like(await result, { code: 'ECONNRESET', bytes: 0 });
      t.false(silent.destroyed);
    });
  }
});

test('any other stream is copied with the same bytes, and the reason', async (t) => {
  const content = pattern(300_000);
  await withPair('tcp', directory, async ({ server, client }) => {
    const received = collect(client);
    const result = await splice(Readable.from([content.subarray(0, 1000), content.subarray(1000)]), server);
    t.like(result, { bytes: content.length, method: 'copy' });
    t.truthy(result.fallbackReason);
    server.end();
    t.true((await received).equals(content));
  });
  await withPair('tcp', directory, async ({ server, client }) => {
    const through = new PassThrough();
    const received = collect(through);
    client.end(content);
    const result = await splice(server, through, { length: 250_000 });
    t.like(result, { bytes: 250_000, method: 'copy' });
    through.end();
    t.true((await received).equals(content.subarray(0, 250_000)));
    t.true((await collect(server)).equals(content.subarray(250_000)), 'the rest stays in the source');
  });
  const broken = new Readable({
    read() {
      this.destroy(new Error('broken source'));
    },
  });
  await withPair('tcp', directory, async ({ server }) => {
    t.is((await failure(splice(broken, server))).message, 'broken source');
    t.false(server.destroyed);
  });
});

test("fallback 'never' refuses what would be copied, and touches nothing", async (t) => {
  await withPair('tcp', directory, async ({ server, client }) => {
    client.end('kept');
    const error = await failure(splice(server, new PassThrough(), { fallback: 'never' }));
    t.is(error.code, 'ERR_ZEROCOPY_UNAVAILABLE');
    t.is(error.bytes, 0);
    t.is((await collect(server)).toString(), 'kept');
  });
});

test('what is none is refused at the edge', async (t) => {
  await withPair('tcp', directory, async ({ server, client }) => {
    const call = splice as (...args: unknown[]) => Promise<unknown>;
    for (const [args, code] of [
      [[{}, server], 'ERR_INVALID_ARG_TYPE'],
      [[server, {}], 'ERR_INVALID_ARG_TYPE'],
      [[undefined, server], 'ERR_INVALID_ARG_TYPE'],
      [['path', server], 'ERR_INVALID_ARG_TYPE'],
      [[server, null], 'ERR_INVALID_ARG_TYPE'],
      [[-1, server], 'ERR_INVALID_ARG_TYPE'],
      [[server, server, { length: -1 }], 'ERR_OUT_OF_RANGE'],
      [[server, server, { length: 1.5 }], 'ERR_OUT_OF_RANGE'],
      [[server, server, { length: '1' }], 'ERR_INVALID_ARG_TYPE'],
      [[server, server, { signal: 1 }], 'ERR_INVALID_ARG_TYPE'],
      [[server, server, { onProgress: 1 }], 'ERR_INVALID_ARG_TYPE'],
      [[server, server, { fallback: 'sometimes' }], 'ERR_INVALID_ARG_VALUE'],
    ] as const) {
      await t.throwsAsync(call(...args), { code }, JSON.stringify(args[2]));
    }
    const listeners = ['error', 'close', 'data', 'end'].map((event) => server.listenerCount(event));
    await t.throwsAsync(splice(server, client, { signal: AbortSignal.abort() }), { code: 'ABORT_ERR' });
    t.deepEqual(
      ['error', 'close', 'data', 'end'].map((event) => server.listenerCount(event)),
      listeners,
    );
    client.write('untouched');
    t.is(String((await once(server, 'data'))[0]), 'untouched');
  });
  const fd = openSync('/dev/null', 'r');
  closeSync(fd);
  await withPair('tcp', directory, async ({ server }) => {
    await t.throwsAsync(splice(fd, server));
  });
});

kernelTest('a callback that throws ends it, and the streams stay', async (t) => {
  await spliced(['tcp', 'tcp'], async ({ writer, source, destination, reader }) => {
    const onProgress: SpliceOptions['onProgress'] = () => {
      throw new Error('from the callback');
    };
    writer.write('abc');
    t.is((await failure(splice(source, destination, { onProgress }))).message, 'from the callback');
    const received = gather(reader);
    writer.end('def');
    await splice(source, destination);
    await until(() => received.bytes().length === 6);
    t.is(received.bytes().toString(), 'abcdef');
  });
});

kernelTest('either end closed by its owner in the middle: the error counts, nothing hangs', async (t) => {
  for (const which of ['source', 'destination'] as const) {
    await spliced(['tcp', 'tcp'], async (sockets) => {
      sockets.writer.write(pattern(16 * MiB));
      const received = gather(sockets.reader);
      const result = splice(sockets.source, sockets.destination);
      await until(() => received.bytes().length > MiB);
      sockets[which].destroy();
      const error = await failure(result);
      t.truthy(error.code);
      await pause(10);
      t.true(error.bytes >= received.bytes().length, `${error.bytes} ${received.bytes().length}`);
    });
  }
});

kernelTest('sockets that are still connecting are waited for; one that cannot connect fails it', async (t) => {
  await withPair('tcp', directory, async ({ server, client }) => {
    client.end('early');
    const refused = connect(join(directory, 'nobody'));
    const error = await failure(splice(server, refused));
    t.is(error.code, 'ENOENT');
    t.is((await collect(server)).toString(), 'early');
  });
});

kernelSerial('thousands of splices, one in three aborted, leave no descriptor, listener or pipe', async (t) => {
  const round = async (count: number): Promise<void> => {
    for (let n = 0; n < count; n++) {
      await spliced(['unix', 'unix'], async ({ writer, source, destination, reader }) => {
        reader.resume();
        const aborted = n % 3 === 0;
        writer.write(Buffer.alloc(100_000));
        if (!aborted) writer.end();
        const controller = new AbortController();
        const result = splice(source, destination, { signal: controller.signal });
        if (aborted) setImmediate(() => controller.abort());
        await result.then(
          ({ bytes }) => t.is(bytes, 100_000),
          (error: TransferError) => t.is(error.code, 'ABORT_ERR'),
        );
        for (const socket of [source, destination]) t.true(socket.listenerCount('close') <= 1);
      });
    }
    await until(() => pipePoolStats().idle === 0, 'idle pipes closed');
  };
  await round(100);
  const before = openDescriptors();
  await round(process.env.ZEROCOPY_LONG === undefined ? 900 : 10_000);
  await until(() => openDescriptors() <= before, 'descriptors back');
  t.is(pipePoolStats().inUse, 0);
});

kernelTest('from a number of a pipe to a stream that the kernel cannot take, by copying', async (t) => {
  const ends = new Int32Array(2);
  t.is(syscalls.pipe2(ends, constants.O_CLOEXEC), 0);
  const [readEnd, writeEnd] = ends as unknown as [number, number];
  writeSync(writeEnd, 'before the end');
  closeSync(writeEnd);
  const through = new PassThrough();
  const received = collect(through);
  const result = await splice(readEnd, through);
  t.is(result.method, 'copy');
  through.end();
  t.is((await received).toString(), 'before the end');
  closeSync(readEnd);
});
