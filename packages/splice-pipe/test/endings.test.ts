/** Transfers that end where nobody expects it: before they have begun, in a callback, at an end that is gone already. */
import { getEventListeners, once } from 'node:events';
import { readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { constants, syscalls, type TransferError } from '@zerocopy/core-syscalls';
import { createSpliceReadStream, type ProxyError, proxy, splice, tee } from '@zerocopy/splice-pipe';
import test from 'ava';
import { collect, gather, kernelTest, MiB, pattern, temporaryDirectory, until, withPair } from './harness.js';

const directory = temporaryDirectory();
let names = 0;
const fresh = (): string => join(directory, `file-${names++}`);

interface Sockets {
  readonly writer: Socket;
  readonly source: Socket;
  readonly destination: Socket;
  readonly reader: Socket;
}

/** Two pairs: `writer` → source, destination → `reader`. */
function withSockets<T>(use: (sockets: Sockets) => Promise<T>, kind: 'tcp' | 'unix' = 'unix'): Promise<T> {
  return withPair(kind, directory, ({ server: source, client: writer }) =>
    withPair(kind, directory, ({ server: destination, client: reader }) => {
      for (const socket of [writer, source, destination, reader]) socket.on('error', () => {});
      return use({ writer, source, destination, reader });
    }),
  );
}

async function failure<E extends TransferError = TransferError>(result: Promise<unknown>): Promise<E> {
  return result.then(
    () => {
      throw new Error('it did not fail');
    },
    (reason: E) => reason,
  );
}

/** A pipe, with what writes into it; and Node's stream over its other end. */
async function withPipe<T>(use: (source: Socket, writer: Socket) => Promise<T>): Promise<T> {
  const ends = new Int32Array(2);
  syscalls.pipe2(ends, constants.O_CLOEXEC | constants.O_NONBLOCK);
  const [readEnd, writeEnd] = ends as unknown as [number, number];
  const source = new Socket({ fd: readEnd, readable: true, writable: false });
  const writer = new Socket({ fd: writeEnd, readable: false, writable: true });
  for (const socket of [source, writer]) socket.on('error', () => {});
  try {
    return await use(source, writer);
  } finally {
    source.destroy();
    writer.destroy();
  }
}

kernelTest('splice that is ended while it waits for its turn: nothing moved, the source whole', async (t) => {
  for (const how of ['abort', 'source', 'destination'] as const) {
    await withSockets(async ({ writer, source, destination, reader }) => {
      const before = pattern(4 * MiB);
      destination.write(before); // its turn does not come: nobody reads yet
      writer.write('for nobody');
      const controller = new AbortController();
      const result = failure(splice(source, destination, { signal: controller.signal }));
      await new Promise((resolve) => setImmediate(resolve));
      if (how === 'abort') controller.abort();
      else (how === 'source' ? source : destination).destroy();
      const error = await result;
      t.is(error.bytes, 0, how);
      const codes = { abort: /ABORT_ERR/, source: /ECONNRESET/, destination: /ERR_STREAM_DESTROYED|ECANCELED/ };
      t.regex(error.code, codes[how]);
      t.is(getEventListeners(controller.signal, 'abort').length, 0);
      if (how === 'source') t.false(destination.destroyed);
      else t.is((await once(source, 'data')).toString(), 'for nobody');
      if (how === 'destination') return;
      // What was written before, and what is written now, goes its way.
      const received = collect(reader);
      destination.end('|');
      t.true((await received).equals(Buffer.concat([before, Buffer.from('|')])), how);
    });
  }
});

kernelTest('one byte is asked for, of a source that has nothing yet: one byte goes', async (t) => {
  await withSockets(async ({ writer, source, destination, reader }) => {
    const received = gather(reader);
    const result = splice(source, destination, { length: 1 });
    await new Promise((resolve) => setImmediate(resolve));
    writer.write('ab');
    t.like(await result, { bytes: 1 });
    await until(() => received.bytes().length === 1);
    t.is(String((await once(source, 'data'))[0]), 'b');
  });
});

kernelTest('a pipe that Node has read to its end brings what was read, and the end', async (t) => {
  await withPipe(async (pipe, writer) => {
    await withSockets(async ({ destination, reader }) => {
      const received = collect(reader);
      writer.end('in user space already');
      pipe.read(0);
      await until(() => pipe.readableLength === 21);
      await until(() => (pipe as unknown as { _readableState: { ended: boolean } })._readableState.ended);
      t.is((await splice(pipe, destination)).bytes, 21);
      destination.end();
      t.is((await received).toString(), 'in user space already');
    });
  });
  await withSockets(async ({ writer, source, destination, reader }) => {
    const received = [collect(reader)];
    writer.end('to each');
    source.read(0);
    await until(() => source.readableLength === 7);
    await until(() => (source as unknown as { _readableState: { ended: boolean } })._readableState.ended);
    const through = fresh();
    const file = await open(through, 'w');
    t.is((await tee(source, [destination, file])).bytes, 7);
    await file.close();
    destination.end();
    t.is((await received[0])?.toString(), 'to each');
    t.is(readFileSync(through, 'utf8'), 'to each');
  });
});

kernelTest('an end that is destroyed from onProgress: the error counts what has arrived', async (t) => {
  for (const from of ['pipe', 'socket'] as const) {
    for (const which of ['source', 'destination'] as const) {
      await withPipe(async (pipe, pipeWriter) => {
        await withSockets(async ({ writer, source: socket, destination, reader }) => {
          const source = from === 'pipe' ? pipe : socket;
          const received = gather(reader);
          const result = splice(source, destination, {
            onProgress: (bytes) => {
              if (bytes > 0) (which === 'source' ? source : destination).destroy();
            },
          });
          (from === 'pipe' ? pipeWriter : writer).write('before it');
          const error = await failure(result);
          t.is(error.code, 'ECONNRESET', `${from} ${which}`);
          t.is(error.bytes, 9);
          await until(() => received.bytes().length === 9);
          t.is(destination.destroyed, which === 'destination');
        });
      });
    }
  }
});

kernelTest("a pipe's bytes for a stalled reader that resets: the error, and the pipe stays", async (t) => {
  await withPipe(async (pipe, writer) => {
    await withSockets(async ({ destination, reader }) => {
      reader.pause();
      let moved = 0;
      const result = failure(
        splice(pipe, destination, {
          onProgress: (bytes) => {
            moved = bytes;
          },
        }),
      );
      writer.write(pattern(8 * MiB));
      let before = -1;
      while (moved !== before || moved === 0) {
        before = moved;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      reader.destroy();
      const error = await result;
      t.regex(error.code, /EPIPE|ECONNRESET|ECANCELED/); // of the write, or of Node 22's giving it up
      t.true(error.bytes >= moved, `${error.bytes} ${moved}`);
      t.true(destination.destroyed);
      t.false(pipe.destroyed);
    });
  });
});

kernelTest(
  'proxy: a socket that its owner destroys with an error of no code: its message, and the code of a reset',
  async (t) => {
    await withSockets(async ({ writer, source, destination, reader }) => {
      const received = gather(reader);
      const result = failure<ProxyError>(proxy(source, destination, { idleTimeout: Number.POSITIVE_INFINITY }));
      writer.write('before');
      await until(() => received.bytes().length === 6);
      source.destroy(new Error('mine'));
      const error = await result;
      t.like(error, { code: 'ECONNRESET', message: 'mine', bytes: 6 });
      t.is(error.forward.bytes, 6);
      t.true(destination.destroyed);
    });
  },
);

kernelTest('proxy, copying: the head goes first, in its place, and is counted', async (t) => {
  await withSockets(async ({ writer, source, destination, reader }) => {
    source.on('data', () => {}); // for which it is copied
    const received = collect(reader);
    const head = pattern(100_000);
    const result = proxy(source, destination, { head, proxyProtocol: 'v1' });
    writer.end(' and what follows');
    reader.end();
    const { forward } = await result;
    t.like(forward, { method: 'copy', bytes: head.length + 17 });
    const expected = [Buffer.from('PROXY UNKNOWN\r\n'), head, Buffer.from(' and what follows')];
    t.true((await received).equals(Buffer.concat(expected)));
  });
});

kernelTest(
  'proxy, copying: aborted before its head has been written, the error counts the part that has',
  async (t) => {
    await withSockets(async ({ source, destination, reader }) => {
      source.on('data', () => {});
      const received = gather(reader);
      const controller = new AbortController();
      const result = failure<ProxyError>(
        proxy(source, destination, { head: Buffer.from('head'), signal: controller.signal }),
      );
      await until(() => received.bytes().length === 4);
      controller.abort();
      const error = await result;
      t.like(error, { code: 'ABORT_ERR', bytes: 4 });
      t.true(source.destroyed && destination.destroyed);
    });
  },
);

test('copying to a stream that fails, or is destroyed: its error, and the bytes that it took', async (t) => {
  for (const how of ['fails', 'is destroyed', 'was destroyed'] as const) {
    await withSockets(async ({ writer, source }) => {
      const taken: Buffer[] = [];
      const through = new PassThrough({ highWaterMark: 1 });
      through.on('error', () => {});
      through._write = (chunk: Buffer, _encoding, done) => {
        taken.push(chunk);
        if (how === 'fails' && taken.length === 2) done(Object.assign(new Error('full'), { code: 'EFULL' }));
        else if (how === 'is destroyed' && taken.length === 2) through.destroy();
        else done();
      };
      if (how === 'was destroyed') through.destroy();
      const result = failure(splice(source, through));
      writer.write('first');
      await until(() => taken.length === 1 || how === 'was destroyed');
      writer.write('second');
      const error = await result;
      t.is(error.code, how === 'fails' ? 'EFULL' : 'ECONNRESET');
      t.is(error.bytes, how === 'was destroyed' ? 0 : 5);
      t.false(source.destroyed);
    });
  }
});

kernelTest(
  'createSpliceReadStream, read(), listened to and piped on from its own progress: no byte is lost',
  async (t) => {
    const content = pattern(6 * MiB);
    for (const how of ['read', 'addListener', 'pipe'] as const) {
      await withSockets(async ({ writer, source, destination, reader }) => {
        const stream = createSpliceReadStream(source);
        const received = gather(reader);
        const second = new PassThrough();
        const others = gather(second as unknown as Socket);
        stream.once('progress', () => {
          if (how === 'read') {
            t.is(stream.read(), null, 'the kernel has it');
            stream.addListener('data', () => {});
          } else if (how === 'addListener') stream.addListener('data', () => {});
          else stream.pipe(second);
        });
        stream.pipe(destination, { end: false });
        writer.end(content);
        await until(() => stream.readableEnded, how);
        await until(() => received.bytes().length === content.length, how);
        t.true(received.bytes().equals(content), how);
        if (how !== 'pipe') return;
        const rest = others.bytes();
        t.true(rest.length > 0 && content.subarray(-rest.length).equals(rest), 'the second gets what followed');
        t.is(stream.fallbackReason, 'it is piped to more than one destination');
      });
    }
  },
);

kernelTest('createSpliceReadStream destroyed in its progress: it is no stream any more that goes on', async (t) => {
  await withSockets(async ({ writer, source, destination, reader }) => {
    const stream = createSpliceReadStream(source);
    stream.on('error', () => {});
    const received = gather(reader);
    stream.once('progress', () => {
      stream.pause(); // left, and to go on in user space
      stream.destroy();
    });
    stream.pipe(destination);
    writer.write('so far');
    await once(stream, 'close');
    t.true(source.destroyed);
    await until(() => received.bytes().length === 6);
    destination.write('|');
    await until(() => received.bytes().length === 7);
    t.is(received.bytes().toString(), 'so far|');
  });
});

kernelTest('a source that holds text: what is not asked for stays in it, to the byte, in every encoding', async (t) => {
  const content = pattern(3 * 97);
  for (const encoding of ['latin1', 'hex', 'base64', 'ucs2'] as const) {
    const source = new PassThrough();
    source.setEncoding(encoding);
    source.end(content.subarray(0, 290));
    const parts = [2, 6, 12, 270].map(async (length) => ({ sink: new PassThrough(), length }));
    const received: Buffer[] = [];
    for (const { sink, length } of await Promise.all(parts)) {
      const result = await splice(source, sink, { length });
      t.is(result.bytes, length, encoding);
      received.push(sink.read() as Buffer);
    }
    t.true(Buffer.concat(received).equals(content.subarray(0, 290)), encoding);
  }
  const source = new PassThrough();
  source.setEncoding('utf8');
  source.end('a\u00e4b');
  const sink = new PassThrough();
  const error = (await t.throwsAsync(splice(source, sink, { length: 2 }))) as TransferError;
  t.like(error, { code: 'ERR_INVALID_ARG_VALUE', bytes: 0 });
  t.regex(error.message, /encoding utf8.*within a character/);
  t.is(sink.readableLength, 0);
  t.is(source.read(), 'a\u00e4b', 'nothing of it is lost');
});
