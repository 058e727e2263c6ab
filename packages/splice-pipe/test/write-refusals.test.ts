/** createSpliceWriteStream where a socket is piped into it, and the kernel is not to write: as fs.createWriteStream, and why. */
import { once } from 'node:events';
import fs, { createWriteStream, openSync, readFileSync, type WriteStream, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { createSpliceWriteStream, type SpliceWriteStream } from '@zerocopy/splice-pipe';
import { kernelTest, listen, MiB, pattern, sha256, temporaryDirectory, until, withPair } from './harness.js';

const directory = temporaryDirectory();
let names = 0;
const fresh = (): string => join(directory, `file-${names++}`);
const CONTENT = pattern(300_000);

const withSource = <T>(use: (source: Socket, writer: Socket) => Promise<T>): Promise<T> =>
  withPair('unix', directory, ({ server, client }) => {
    client.on('error', () => {});
    return use(server, client);
  });

const closed = (stream: WriteStream): Promise<void> => until(() => stream.closed, 'closed');

/** How the file, and what is done around the pipe, keep the kernel out of it; everything arrives all the same. */
const refused: Record<
  string,
  { options?: object; before?(file: SpliceWriteStream): void; after?(file: SpliceWriteStream): void; reason: string }
> = {
  'an fs of its own': {
    options: { fs: { open: fs.open, write: fs.write, writev: fs.writev, close: fs.close } },
    reason: 'the option fs is set',
  },
  'corked before': {
    before: (file) => file.cork(),
    after: (file) => setImmediate(() => file.uncork()),
    reason: 'the stream is corked',
  },
  'corked afterwards': {
    after(file) {
      file.cork();
      setImmediate(() => file.uncork());
    },
    reason: 'the stream was corked',
  },
};

for (const [name, { options, before, after, reason }] of Object.entries(refused)) {
  kernelTest(`${name}: every byte by Node, with the reason`, async (t) => {
    await withSource(async (source, writer) => {
      const path = fresh();
      const file = createSpliceWriteStream(path, options as never);
      before?.(file);
      source.pipe(file);
      after?.(file);
      writer.end(CONTENT);
      await closed(file);
      t.true(readFileSync(path).equals(CONTENT));
      t.deepEqual([file.method, file.fallbackReason, file.bytesWritten], ['copy', reason, CONTENT.length]);
    });
  });
}

kernelTest("what is no regular file is written by Node, and 'never' says why not", async (t) => {
  for (const fallback of ['auto', 'never'] as const) {
    await withSource(async (source, writer) => {
      const file = createSpliceWriteStream('/dev/null', { fallback });
      const errors: NodeJS.ErrnoException[] = [];
      file.on('error', (error) => errors.push(error));
      source.pipe(file);
      writer.end(CONTENT);
      await closed(file);
      if (fallback === 'auto') {
        t.deepEqual(errors, []);
        t.deepEqual([file.fallbackReason, file.bytesWritten], ['it is not a regular file', CONTENT.length]);
      } else {
        t.is(errors[0]?.code, 'ERR_ZEROCOPY_UNAVAILABLE');
        t.regex(errors[0]?.message ?? '', /it is not a regular file/);
        t.is(file.bytesWritten, 0);
      }
    });
  }
});

kernelTest('a source that is still connecting: by Node, with the reason', async (t) => {
  const server = await listen('unix', directory, (socket) => socket.end(CONTENT));
  const source = connect(server.address);
  const path = fresh();
  const file = createSpliceWriteStream(path);
  source.pipe(file);
  await closed(file);
  t.true(readFileSync(path).equals(CONTENT));
  t.is(file.fallbackReason, 'the source is not connected yet');
  source.destroy();
  server.close();
});

kernelTest('two sources at once: both whole, by Node from then on, with the reason', async (t) => {
  await withSource((one, writer) =>
    withSource(async (other, second) => {
      const path = fresh();
      const file = createSpliceWriteStream(path);
      one.pipe(file, { end: false });
      writer.write('a'.repeat(5000));
      await until(() => file.bytesWritten === 5000);
      other.pipe(file, { end: false });
      second.end('b'.repeat(5000));
      writer.end('a'.repeat(3000));
      await until(() => file.bytesWritten === 13_000);
      t.is(file.fallbackReason, 'more than one source is piped into it');
      file.end();
      await closed(file);
      const text = readFileSync(path, 'latin1');
      t.deepEqual([text.replaceAll('b', '').length, text.replaceAll('a', '').length], [8000, 5000]);
    }),
  );
});

kernelTest(
  'piped into again from its own progress, before the kernel path is left: nothing is lost or doubled',
  async (t) => {
    await withSource(async (source, writer) => {
      const content = pattern(4 * MiB);
      const path = fresh();
      const file = createSpliceWriteStream(path);
      file.once('progress', () => {
        source.unpipe(file);
        source.pipe(file);
      });
      source.pipe(file);
      writer.end(content);
      await closed(file);
      t.true(readFileSync(path).equals(content));
      t.is(file.bytesWritten, content.length);
      t.truthy(file.fallbackReason);
    });
  },
);

kernelTest('written to, and not piped into: that is the reason; untouched, there is none', async (t) => {
  const path = fresh();
  const file = createSpliceWriteStream(path);
  t.deepEqual([file.method, file.fallbackReason], [undefined, undefined]);
  Readable.from([]).unpipe(file);
  file.emit('unpipe', new Readable({ read() {} }));
  file.end('written');
  await closed(file);
  t.deepEqual([file.method, file.fallbackReason], ['copy', 'the stream was written to']);
  t.is(readFileSync(path, 'utf8'), 'written');
});

kernelTest(
  'ended or destroyed before it is piped into, or destroyed in that turn: as with fs.createWriteStream',
  async (t) => {
    for (const how of ['destroy', 'destroyed before', 'ended before'] as const) {
      const seen: unknown[] = [];
      for (const make of [createSpliceWriteStream, createWriteStream] as ((path: string) => WriteStream)[]) {
        await withSource(async (source, writer) => {
          const path = fresh();
          const file = make(path);
          const codes: unknown[] = [];
          file.on('error', (error: NodeJS.ErrnoException) => codes.push(error.code));
          await until(() => !file.pending);
          writer.write('left in the source');
          if (how === 'ended before') file.end();
          if (how === 'destroyed before') file.destroy();
          source.pipe(file);
          if (how === 'destroy') file.destroy();
          await closed(file);
          seen.push([codes, readFileSync(path, 'utf8'), file.bytesWritten]);
          t.false(source.destroyed);
        });
      }
      t.deepEqual(seen[0], seen[1], how);
    }
  },
);

kernelTest('a descriptor that is not open: the EBADF of fs.createWriteStream', async (t) => {
  const seen: unknown[] = [];
  for (const make of [createSpliceWriteStream, createWriteStream] as ((
    path: string,
    options: object,
  ) => WriteStream)[]) {
    await withSource(async (source, writer) => {
      const file = make('', { fd: 2 ** 30 }); // more than any process may have
      const errors: NodeJS.ErrnoException[] = [];
      file.on('error', (error) => errors.push(error));
      source.pipe(file);
      writer.end(CONTENT);
      await closed(file);
      seen.push([errors.map(({ code, syscall }) => [code, syscall]), file.bytesWritten]);
    });
  }
  t.deepEqual(seen[0], seen[1]);
  t.is((seen[0] as [[string][], number])[0][0]?.[0], 'EBADF');
});

kernelTest(
  'a descriptor that is open for reading only: an error, nothing written, and with autoClose off it stays open',
  async (t) => {
    for (const autoClose of [true, false]) {
      const path = fresh();
      writeFileSync(path, 'as it was');
      await withSource(async (source, writer) => {
        const fd = openSync(path, 'r');
        const file = createSpliceWriteStream('', { fd, autoClose });
        const errors: NodeJS.ErrnoException[] = [];
        file.on('error', (error) => errors.push(error));
        source.pipe(file);
        writer.end(CONTENT);
        await until(() => errors.length > 0);
        t.is(errors[0]?.code, 'EBADF');
        t.is(file.bytesWritten, 0);
        t.is(readFileSync(path, 'utf8'), 'as it was');
        if (autoClose) await closed(file);
        else {
          await new Promise((resolve) => setImmediate(resolve));
          t.notThrows(() => fs.closeSync(fd));
        }
      });
    }
  },
);

for (const opened of ['before', 'after']) {
  for (const how of ['written', 'ended'] as const) {
    for (const when of ['tick of the pipe', 'tick after it'] as const) {
      // What has not been opened yet is destroyed by the write after its end, or has been opened in time.
      if (opened === 'after' && how === 'ended') continue;
      kernelTest(
        `${how} to in the ${when}, ${opened} the file is open: the bytes, and the order, of Node`,
        async (t) => {
          const outcomes: unknown[] = [];
          for (const make of [createWriteStream, createSpliceWriteStream as typeof createWriteStream]) {
            await withSource(async (source, writer) => {
              const path = fresh();
              const file = make(path);
              const errors: (string | undefined)[] = [];
              file.on('error', ({ code }: NodeJS.ErrnoException) => errors.push(code));
              if (opened === 'before') await once(file, 'ready');
              writer.end('from the socket');
              await until(() => source.readableLength > 0); // it waits there
              source.pipe(file);
              const use = (): unknown => (how === 'written' ? file.write(CONTENT) : file.end(CONTENT));
              if (when === 'tick of the pipe') use();
              else process.nextTick(use);
              await closed(file);
              source.destroy();
              outcomes.push([errors, sha256(readFileSync(path))]);
            });
          }
          t.deepEqual(outcomes[1], outcomes[0]);
        },
      );
    }
  }
}
