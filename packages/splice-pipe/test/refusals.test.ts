/** Ends that the kernel cannot take: the reason by its text, and the same bytes by Node's streams. */
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { connect, Socket } from 'node:net';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import tty from 'node:tty';
import { constants, feature, syscalls, type TransferResult } from '@zerocopy/core-syscalls';
import { createSpliceReadStream, createSpliceWriteStream, proxy, splice, tee } from '@zerocopy/splice-pipe';
import test from 'ava';
import {
  collect,
  gather,
  kernelTest,
  listen,
  pattern,
  teeFallback,
  temporaryDirectory,
  until,
  withPair,
} from './harness.js';

const directory = temporaryDirectory();
const CONTENT = pattern(200_000);

interface Sockets {
  readonly writer: Socket;
  readonly source: Socket;
  readonly destination: Socket;
  readonly reader: Socket;
}

/** Two pairs: `writer` → source, destination → `reader`. */
function withSockets<T>(use: (sockets: Sockets) => Promise<T>): Promise<T> {
  return withPair('unix', directory, ({ server: source, client: writer }) =>
    withPair('unix', directory, ({ server: destination, client: reader }) => {
      for (const socket of [writer, reader]) socket.on('error', () => {});
      return use({ writer, source, destination, reader });
    }),
  );
}

function setBlocking(socket: Socket, blocking: boolean): void {
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
  const flags = syscalls.fcntl(fd, constants.F_GETFL) & ~constants.O_NONBLOCK;
  syscalls.fcntl(fd, constants.F_SETFL, blocking ? flags : flags | constants.O_NONBLOCK);
}

/** Its own, though it does what the class does: as a library does that counts, or encrypts. */
function replaceMethod(socket: Socket, name: '_read' | 'write'): void {
  const original = Reflect.get(Socket.prototype, name) as (...args: unknown[]) => unknown;
  Object.assign(socket, { [name]: (...args: unknown[]) => Reflect.apply(original, socket, args) });
}

const refused: Record<string, { prepare(sockets: Sockets): void; reason: string }> = {
  'a source with an encoding': {
    prepare: ({ source }) => source.setEncoding('latin1'),
    reason: 'the source has an encoding',
  },
  "a source whose _read is somebody's own": {
    prepare: ({ source }) => replaceMethod(source, '_read'),
    reason: "the source's _read has been replaced",
  },
  "a destination whose write is somebody's own": {
    prepare: ({ destination }) => replaceMethod(destination, 'write'),
    reason: "the destination's write methods have been replaced",
  },
  'a destination in blocking mode': {
    prepare: ({ destination }) => setBlocking(destination, true),
    reason: 'the destination is in blocking mode',
  },
};

for (const [name, { prepare, reason }] of Object.entries(refused)) {
  kernelTest(`splice, proxy and tee with ${name}: copied, every byte`, async (t) => {
    const joined: Record<string, (sockets: Sockets) => Promise<TransferResult>> = {
      splice: ({ source, destination }) => splice(source, destination),
      proxy: async ({ source, destination, reader }) => {
        reader.end(); // of what comes back there is nothing
        return (await proxy(source, destination)).forward;
      },
      tee: ({ source, destination }) => tee(source, [destination]),
    };
    for (const [how, join] of Object.entries(joined)) {
      await withSockets(async (sockets) => {
        prepare(sockets);
        const received = collect(sockets.reader);
        sockets.writer.end(CONTENT);
        const result = await join(sockets);
        const fallbackReason = how === 'tee' ? teeFallback(reason) : reason;
        t.like(result, { bytes: CONTENT.length, method: 'copy', fallbackReason }, how);
        sockets.destination.end();
        t.true((await received).equals(CONTENT), how);
      });
    }
  });
}

kernelTest("a socket that was never connected has no descriptor: said where it is 'never' to be copied", async (t) => {
  await withSockets(async ({ writer, source, destination }) => {
    writer.write('kept');
    const idle = new Socket();
    await t.throwsAsync(splice(source, idle, { fallback: 'never' }), {
      code: 'ERR_ZEROCOPY_UNAVAILABLE',
      message: /the destination has no descriptor/,
    });
    await t.throwsAsync(splice(idle, destination, { fallback: 'never' }), {
      code: 'ERR_ZEROCOPY_UNAVAILABLE',
      message: /the source has no descriptor/,
    });
    // Copied, it is Node's own write that fails.
    const error = (await t.throwsAsync(splice(source, idle))) as NodeJS.ErrnoException & { bytes: number };
    t.is(error.code, 'ERR_SOCKET_CLOSED');
    t.is(error.bytes, 0);
    idle.destroy();
  });
});

kernelTest('a terminal, as a stream of Node, at either end: copied, and named', async (t) => {
  const reason = 'it is no stream, pipe or file (a terminal, or another device)';
  const terminal = openSync('/dev/ptmx', 'r+');
  const output = new tty.WriteStream(terminal);
  await withSockets(async ({ writer, source, destination, reader }) => {
    writer.end('to be seen\n');
    const shown = await splice(source, output);
    t.like(shown, { bytes: 11, method: 'copy', fallbackReason: reason });
    // The line that was typed is echoed, and that is what can be read here.
    const received = gather(reader);
    const typed = await splice(output, destination, { length: 12 });
    t.like(typed, { bytes: 12, method: 'copy', fallbackReason: reason });
    await until(() => received.bytes().length === 12);
    t.is(received.bytes().toString(), 'to be seen\r\n');
  });
  output.destroy();
});

kernelTest('streams of classes without a name are called a stream', async (t) => {
  const nameless = [class extends Readable {}, class extends PassThrough {}].map((one) =>
    Object.defineProperty(one, 'name', { value: '' }),
  ) as unknown as [typeof Readable, typeof PassThrough];
  await withSockets(async ({ writer, source, destination, reader }) => {
    const received = collect(reader);
    const from = new nameless[0]({ read() {} });
    from.push('from it');
    from.push(null);
    const { fallbackReason } = await splice(from, destination);
    t.is(fallbackReason, 'the source is not a socket but a stream');
    destination.end();
    t.is((await received).toString(), 'from it');

    const to = new nameless[1]();
    const through = collect(to);
    writer.end('to it');
    t.is((await splice(source, to)).fallbackReason, 'the destination is not a socket but a stream');
    to.end();
    t.is((await through).toString(), 'to it');
  });
  const path = join(directory, 'nameless');
  const file = createSpliceWriteStream(path);
  await pipeline(Object.setPrototypeOf(Readable.from(['in it']), nameless[0].prototype) as Readable, file);
  t.is(file.fallbackReason, 'the source is not a socket but a stream');
  t.is(readFileSync(path, 'utf8'), 'in it');
});

test('what a stream of strings brings is copied as UTF-8, or in the encoding that it has', async (t) => {
  await withSockets(async ({ destination, reader }) => {
    const received = collect(reader);
    t.is((await splice(Readable.from(['Grüße, ', '世界']), destination)).bytes, 15);
    const hexadecimal = new PassThrough();
    hexadecimal.setEncoding('hex');
    hexadecimal.end('!');
    t.is((await splice(hexadecimal, destination)).bytes, 1);
    destination.end();
    t.is((await received).toString(), 'Grüße, 世界!');
  });
});

test('a source that flowed into a listener flows on behind the bytes that were asked for', async (t) => {
  await withSockets(async ({ writer, source, destination, reader }) => {
    const [heard, received] = [gather(source), gather(reader)];
    const result = splice(source, destination, { length: 4 });
    writer.write('0123');
    const { bytes, method } = await result;
    t.deepEqual([bytes, method], [4, 'copy']);
    writer.write('456789');
    await until(() => heard.bytes().length === 10, 'the rest reaches the listener');
    t.is(heard.bytes().toString(), '0123456789');
    await until(() => received.bytes().length === 4);
    t.is(received.bytes().toString(), '0123');
  });
});

kernelTest('tee from a file, by its handle: copied, with the reason, from its position on', async (t) => {
  const path = join(directory, 'teed');
  writeFileSync(path, CONTENT);
  await withSockets(async ({ destination, reader }) => {
    const received = collect(reader);
    const file = await open(path);
    const recorded = openSync(join(directory, 'recorded'), 'w');
    await file.read(Buffer.alloc(1000), 0, 1000, null);
    const result = await tee(file, [destination, recorded]);
    const bytes = CONTENT.length - 1000;
    t.like(result, { bytes, method: 'copy', fallbackReason: teeFallback('the source is a file') });
    t.deepEqual(result.destinations, [{ bytes }, { bytes }]);
    destination.end();
    await file.close();
    closeSync(recorded);
    t.true((await received).equals(CONTENT.subarray(1000)));
    t.true(readFileSync(join(directory, 'recorded')).equals(CONTENT.subarray(1000)));
  });
});

kernelTest(
  "tee from a pipe's number, which may be closed in the same turn: every byte, by splice if there is tee",
  async (t) => {
    const ends = new Int32Array(2);
    syscalls.pipe2(ends, constants.O_CLOEXEC | constants.O_NONBLOCK);
    const [readEnd, writeEnd] = ends as unknown as [number, number];
    writeSync(writeEnd, CONTENT, 0, 60_000);
    closeSync(writeEnd);
    await withSockets(async ({ destination, reader, source, writer }) => {
      const received = [collect(reader), collect(writer)];
      const result = tee(readEnd, [destination, source]);
      closeSync(readEnd);
      t.like(await result, { bytes: 60_000, method: feature('tee').available ? 'splice' : 'copy' });
      for (const one of [destination, source]) one.end();
      for (const one of await Promise.all(received)) t.true(one.equals(CONTENT.subarray(0, 60_000)));
    });
  },
);

type ReadStream = ReturnType<typeof createSpliceReadStream>;

const readRefused: Record<string, { prepare(stream: ReadStream, destination: Socket): void; reason: string }> = {
  'a listener that was put first': {
    prepare: (stream) => stream.prependListener('data', () => {}),
    reason: "the stream has a 'data' listener",
  },
  'an encoding': { prepare: (stream) => stream.setEncoding('latin1'), reason: 'the stream has an encoding' },
  'a corked destination': {
    prepare(_stream, destination) {
      destination.cork();
      setImmediate(() => destination.uncork());
    },
    reason: 'the destination is corked',
  },
  'bytes that were put back': {
    prepare: (stream) => stream.unshift('put back, '),
    reason: 'the stream is being read already',
  },
};

for (const [name, { prepare, reason }] of Object.entries(readRefused)) {
  kernelTest(`createSpliceReadStream with ${name}: read by Node, with the reason, and whole`, async (t) => {
    await withSockets(async ({ writer, source, destination, reader }) => {
      const stream = createSpliceReadStream(source);
      prepare(stream, destination);
      const received = collect(reader);
      writer.end('plain text');
      stream.pipe(destination);
      t.regex((await received).toString(), /^(put back, )?plain text$/);
      t.is(stream.bytesMoved, 10);
      t.deepEqual([stream.method, stream.fallbackReason], ['copy', reason]);
    });
  });
}

kernelTest('createSpliceReadStream of, or into, a socket that is still connecting: by Node, and whole', async (t) => {
  for (const late of ['source', 'destination'] as const) {
    const echo = await listen('unix', directory, (socket) => socket.pipe(socket));
    await withPair('unix', directory, async ({ server, client }) => {
      const connecting = connect(echo.address);
      const [from, to] = late === 'source' ? [connecting, server] : [server, connecting];
      const received = collect(late === 'source' ? client : connecting);
      const stream = createSpliceReadStream(from);
      stream.pipe(to);
      (late === 'source' ? connecting : client).end('early');
      t.is((await received).toString(), 'early');
      t.deepEqual([stream.method, stream.fallbackReason], ['copy', 'a socket is not connected yet']);
      connecting.destroy();
    });
    echo.close();
  }
});

kernelTest('createSpliceReadStream of a socket that has been read to its end has only the end left', async (t) => {
  await withSockets(async ({ writer, source }) => {
    writer.end('gone');
    t.is((await collect(source)).toString(), 'gone');
    const stream = createSpliceReadStream(source);
    t.is((await collect(stream)).length, 0);
    t.is(stream.bytesMoved, 0);
  });
});
