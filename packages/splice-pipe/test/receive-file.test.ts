/** Uploads into files by receiveFile, and small ones through a pipeline: bytes, limits, names, failures. */
import { execFileSync } from 'node:child_process';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { createWriteStream, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import http2 from 'node:http2';
import net, { type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { pathToFileURL } from 'node:url';
import { feature, TransferError, type TransferResult } from '@zerocopy/core-syscalls';
import {
  createSpliceWriteStream,
  type ReceiveFileOptions,
  receiveFile,
  type SpliceWriteStream,
} from '@zerocopy/splice-pipe';
import { fifoWithReader } from '@zerocopy/testing/fifo';
import test from 'ava';
import { KiB, MiB, openDescriptors, pattern, temporaryDirectory, until, withPair } from './harness.js';

const directory = temporaryDirectory();
let names = 0;
/** A path in a directory of its own. */
function fresh(): string {
  const parent = join(directory, `receive-${names++}`);
  mkdirSync(parent);
  return join(parent, 'file');
}
const leftBeside = (path: string): string[] => readdirSync(join(path, '..'));

type Handle = (request: IncomingMessage, response: ServerResponse) => unknown;

async function serving(handle: Handle, use: (port: number) => Promise<void>): Promise<void> {
  const server = http.createServer(handle);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    await use((server.address() as AddressInfo).port);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** Writes `head` and `body` on a connection, and resolves with all that is answered, when `until` is in it. */
async function talk(port: number, written: readonly (string | Buffer)[], last: string): Promise<string> {
  const client = net.connect(port, '127.0.0.1').on('error', () => {});
  let answer = '';
  client.setEncoding('latin1').on('data', (part: string) => {
    answer += part;
  });
  for (const part of written) client.write(part);
  await until(() => answer.includes(last) || client.closed, last);
  client.destroy();
  return answer;
}

const headOf = (length: number): string => `PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: ${length}\r\n\r\n`;
const CHUNKED = 'PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n';
const chunk = (body: Buffer): Buffer =>
  Buffer.concat([Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from('\r\n')]);
const NEXT = 'GET /next HTTP/1.1\r\nHost: x\r\n\r\n';

/** What receiveFile answers to one upload; then the next request on the same connection is answered, too. */
async function received(
  path: Parameters<typeof receiveFile>[1],
  written: readonly (string | Buffer)[],
  options: ReceiveFileOptions = {},
): Promise<{ result?: TransferResult; error?: TransferError }> {
  let told: { result?: TransferResult; error?: TransferError } = {};
  await serving(
    (request, response) => {
      if (request.url === '/next') return response.end('the next');
      receiveFile(request, path, options).then(
        (result) => {
          told = { result };
          response.end('stored');
        },
        (error: TransferError) => {
          told = { error };
          response.writeHead(error.code === 'ERR_BODY_TOO_LARGE' ? 413 : 500).end('refused');
        },
      );
    },
    async (port) => {
      const answer = await talk(port, [...written, NEXT], 'the next');
      if (!answer.includes('the next')) throw new Error(`the next request was not answered: ${answer}`);
    },
  );
  return told;
}

test('every size: all bytes, on a connection that is kept', async (t) => {
  for (const size of [0, 1, 70 * KiB, MiB / 2, MiB / 2 + 1, 3 * MiB + 5]) {
    const body = pattern(size);
    for (const atomic of [false, true]) {
      const path = fresh();
      const { result, error } = await received(path, [headOf(size), body], { atomic });
      t.is(error, undefined);
      t.is(result?.bytes, size);
      t.is(result?.method, size > MiB / 2 && feature('splice').available ? 'splice' : 'copy');
      t.is(typeof result?.fallbackReason, result?.method === 'copy' ? 'string' : 'undefined');
      t.true(readFileSync(path).equals(body));
      t.deepEqual(leftBeside(path), ['file']);
    }
  }
});

test('a chunked body', async (t) => {
  const body = pattern(3 * MiB + 1);
  const path = fresh();
  const parts = [body.subarray(0, 10), body.subarray(10, 2 * MiB), body.subarray(2 * MiB)].map(chunk);
  const { result } = await received(path, [CHUNKED, ...parts, '0\r\n\r\n']);
  t.like(result, { bytes: body.length, method: 'copy' });
  t.true(readFileSync(path).equals(body));
});

test('a body larger than allowed: refused by what it announces, and otherwise at the byte; both can be answered', async (t) => {
  const body = pattern(MiB);
  for (const atomic of [false, true]) {
    const announced = fresh();
    const early = await received(announced, [headOf(body.length), body], { maxBytes: body.length - 1, atomic });
    t.like(early.error, { code: 'ERR_BODY_TOO_LARGE', bytes: 0 });
    t.deepEqual(leftBeside(announced), [], 'it has not been opened');
    const counted = fresh();
    const late = await received(counted, [CHUNKED, chunk(body), '0\r\n\r\n'], { maxBytes: body.length - 1, atomic });
    t.is(late.error?.code, 'ERR_BODY_TOO_LARGE');
    t.deepEqual(leftBeside(counted), atomic ? [] : ['file']);
    if (atomic) continue;
    const kept = readFileSync(counted);
    t.is(late.error?.bytes, kept.length);
    t.true(kept.length < body.length && kept.equals(body.subarray(0, kept.length)));
  }
  const exact = fresh();
  const { result } = await received(exact, [CHUNKED, chunk(body), '0\r\n\r\n'], { maxBytes: body.length });
  t.is(result?.bytes, body.length);
});

test.serial(
  'a client that goes away: an error that says so; the part stays, and a temporary file does not',
  async (t) => {
    for (const [written, length] of [
      [headOf(200 * KiB), 100 * KiB],
      [headOf(4 * MiB), 2 * MiB],
      [CHUNKED, 0],
    ] as const) {
      for (const atomic of [false, true]) {
        const path = fresh();
        const body = pattern(length);
        const before = openDescriptors();
        let failed: TransferError | undefined;
        await serving(
          (request) =>
            receiveFile(request, path, { atomic }).catch((error: TransferError) => {
              failed = error;
            }),
          async (port) => {
            const client = net.connect(port, '127.0.0.1').on('error', () => {});
            let seen = 0;
            client.write(written);
            client.write(body, () => {
              seen = 1;
            });
            await until(() => seen === 1 && leftBeside(path).length === 1, 'the file');
            client.destroy();
            await until(() => failed !== undefined, 'an error');
          },
        );
        t.true(failed instanceof TransferError);
        t.is(failed?.code, 'ECONNRESET');
        t.regex(String(failed?.message), /closed before/);
        t.deepEqual(leftBeside(path), atomic ? [] : ['file']);
        if (!atomic) {
          const kept = readFileSync(path);
          t.is(failed?.bytes, kept.length);
          t.true(kept.equals(body.subarray(0, kept.length)));
        }
        await until(() => openDescriptors() <= before + 2, 'descriptors closed');
      }
    }
  },
);

test('an abort, at once and meanwhile', async (t) => {
  const path = fresh();
  const reason = new Error('enough');
  const { error } = await received(path, [headOf(5), 'abcde'], { signal: AbortSignal.abort(reason) });
  t.like(error, { name: 'AbortError', code: 'ABORT_ERR', cause: reason, bytes: 0 });
  t.deepEqual(leftBeside(path), []);
  for (const [length, sent] of [
    [100, 3],
    [4 * MiB, 2 * MiB],
  ] as const) {
    const to = fresh();
    const aborting = new AbortController();
    let failed: TransferError | undefined;
    await serving(
      (request, response) => {
        receiveFile(request, to, { signal: aborting.signal, atomic: true }).catch((e: TransferError) => {
          failed = e;
          response.end('answered');
        });
      },
      async (port) => {
        const answer = talk(port, [headOf(length), pattern(sent)], 'answered');
        await until(() => leftBeside(to).length === 1, 'a temporary file');
        aborting.abort(reason);
        t.true((await answer).includes('answered'));
      },
    );
    t.like(failed, { code: 'ABORT_ERR', cause: reason });
    t.deepEqual(leftBeside(to), []);
  }
});

test('paths that are no regular files, and files that cannot be made', async (t) => {
  const path = fresh();
  const fifo = `${path}.fifo`;
  execFileSync('mkfifo', [fifo]);
  const cases: [string, string][] = [
    [join(path, '..'), 'EISDIR'],
    [fifo, 'ENODEV'],
    ['/dev/null', 'ENODEV'],
    [join(path, 'missing', 'file'), 'ENOENT'],
  ];
  for (const [to, code] of cases) {
    for (const body of [pattern(10), pattern(2 * MiB)]) {
      const { error } = await received(to, [headOf(body.length), body]);
      t.is(error?.code, code, to);
    }
  }
});

test('a FIFO is not opened: who waits for its writer goes on waiting (kernel-rules: fifo-open)', async (t) => {
  const path = fresh();
  const reader = await fifoWithReader(path);
  try {
    for (const options of [{}, { flags: 'a' }, { flags: 'r+' }, { flags: 'wx' }] as const) {
      for (const body of [pattern(10), pattern(2 * MiB)]) {
        const { error } = await received(path, [headOf(body.length), body], options);
        t.is(error?.code, options.flags === 'wx' ? 'EEXIST' : 'ENODEV');
      }
    }
    writeFileSync(path, 'from its writer');
    t.is(await reader.read, 'from its writer.');
  } finally {
    reader.stop();
  }
});

test('what is there is written again, also by another name and through a link; what is made has its mode', async (t) => {
  const path = fresh();
  const [link, missing] = [`${path}.link`, `${path}.missing`];
  writeFileSync(path, 'more than comes now');
  symlinkSync(path, link);
  symlinkSync(missing, `${missing}.link`);
  for (const [to, found] of [
    [path, path],
    [link, path],
    [Buffer.from(path), path],
    [pathToFileURL(link), path],
    [`${missing}.link`, missing],
    [missing, missing],
  ] as const) {
    t.is((await received(to, [headOf(3), 'new'], { mode: 0o640 })).error, undefined);
    t.is(readFileSync(found, 'utf8'), 'new');
    writeFileSync(found, 'more than comes now');
  }
  t.is(statSync(missing).mode & 0o777, 0o640 & ~process.umask());
});

test("flags: 'wx' keeps what is there, also atomically; 'a' appends; 'w' cuts off", async (t) => {
  const path = fresh();
  writeFileSync(path, 'before');
  for (const atomic of [false, true]) {
    const { error } = await received(path, [headOf(3), 'new'], { flags: 'wx', atomic });
    t.is(error?.code, 'EEXIST');
    t.is(readFileSync(path, 'latin1'), 'before');
  }
  await received(path, [headOf(3), 'and'], { flags: 'a' });
  t.is(readFileSync(path, 'latin1'), 'beforeand');
  const large = pattern(2 * MiB);
  const { result } = await received(path, [headOf(large.length), large], { flags: 'a' });
  t.regex(result?.fallbackReason ?? '', /./);
  t.is(statSync(path).size, 9 + large.length);
  await received(path, [headOf(3), 'new']);
  t.is(readFileSync(path, 'latin1'), 'new');
  await received(path, [headOf(3), 'own'], { atomic: true, mode: 0o600, flush: true });
  t.is(statSync(path).mode & 0o777, 0o600);
  t.deepEqual(leftBeside(path), ['file']);
  const fromNothing = fresh();
  await received(fromNothing, [headOf(3), 'new'], { flags: 'wx', atomic: true });
  t.deepEqual([readFileSync(fromNothing, 'latin1'), leftBeside(fromNothing)], ['new', ['file']]);
});

test('invalid arguments', async (t) => {
  const source = Readable.from([]);
  const path = fresh();
  const wrong: [unknown[], string][] = [
    [['x', path], 'ERR_INVALID_ARG_TYPE'],
    [[source, 5], 'ERR_INVALID_ARG_TYPE'],
    [[source, path, null], 'ERR_INVALID_ARG_TYPE'],
    [[source, path, { maxBytes: -1 }], 'ERR_OUT_OF_RANGE'],
    [[source, path, { flags: 'r' }], 'ERR_INVALID_ARG_VALUE'],
    [[source, path, { flags: 0 }], 'ERR_INVALID_ARG_VALUE'],
    [[source, path, { flags: 'a', atomic: true }], 'ERR_INVALID_ARG_VALUE'],
    [[source, path, { atomic: 'yes' }], 'ERR_INVALID_ARG_TYPE'],
    [[source, path, { signal: {} }], 'ERR_INVALID_ARG_TYPE'],
  ];
  for (const [given, code] of wrong) {
    await t.throwsAsync(Reflect.apply(receiveFile, undefined, given), { code }, JSON.stringify(given[2]));
  }
  t.deepEqual(leftBeside(path), []);
});

test('a body that has been read, or is gone', async (t) => {
  const path = fresh();
  const read = Readable.from([Buffer.from('x')], { objectMode: false });
  await read.toArray();
  await t.throwsAsync(receiveFile(read, path), { code: 'ERR_BODY_USED' });
  const gone = new Readable({ read() {} }).destroy();
  await t.throwsAsync(receiveFile(gone, path), { code: 'ECONNRESET' });
  t.deepEqual(leftBeside(path), []);
});

test('a request that is answered before its file is open: the body is received, not thrown away', async (t) => {
  for (const size of [MiB / 2, 3 * MiB]) {
    const [path, body] = [fresh(), pattern(size)];
    let receiving: Promise<TransferResult> | undefined;
    await serving(
      (request, response) => {
        receiving = receiveFile(request, path);
        response.end('early');
      },
      async (port) => {
        const client = net.connect(port, '127.0.0.1').on('error', () => {});
        client.write(headOf(size));
        client.write(body);
        await until(() => receiving !== undefined, 'the request');
        t.is((await receiving)?.bytes, size);
        client.destroy();
      },
    );
    t.true(readFileSync(path).equals(body));
  }
});

test('Expect: 100-continue, by Node and by a listener', async (t) => {
  for (const listener of [false, true]) {
    const path = fresh();
    const store: Handle = async (request, response) => {
      await receiveFile(request, path);
      response.end('stored');
    };
    const server = http.createServer(store);
    if (listener) {
      server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
        response.writeContinue();
        store(request, response);
      });
    }
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const client = http.request({
      port: (server.address() as AddressInfo).port,
      method: 'PUT',
      headers: { Expect: '100-continue', 'Content-Length': 4 },
    });
    client.flushHeaders();
    await once(client, 'continue');
    client.end('body');
    await once(client, 'response');
    client.destroy();
    server.close();
    t.is(readFileSync(path, 'latin1'), 'body');
  }
});

test('HTTP/2: whole, too large, and broken off', async (t) => {
  const outcomes: unknown[] = [];
  let path = fresh();
  const server = http2.createServer((request, response) => {
    receiveFile(request, path, { maxBytes: 3 * MiB, atomic: true }).then(
      ({ bytes, method }) => {
        outcomes.push([bytes, method]);
        response.end();
      },
      ({ code }: TransferError) => {
        outcomes.push(code);
        if (!response.stream?.destroyed) response.writeHead(413).end();
      },
    );
  });
  server.listen(0);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const connection = net.connect(port, 'localhost').on('error', () => {});
  const session = http2.connect(`http://localhost:${port}`, { createConnection: () => connection });
  session.on('error', () => {});
  const put = (fields: http2.OutgoingHttpHeaders = {}): http2.ClientHttp2Stream =>
    session.request({ ':method': 'PUT', ...fields }).on('error', () => {});
  const whole = put();
  whole.end(pattern(2 * MiB));
  await once(whole.resume(), 'end');
  t.true(readFileSync(path).equals(pattern(2 * MiB)));
  path = fresh();
  const large = put();
  large.end(pattern(4 * MiB));
  const [{ ':status': status }] = await once(large, 'response');
  t.is(status, 413);
  large.close();
  const broken = put();
  broken.write(pattern(KiB));
  await until(() => leftBeside(path).length > 0, 'a temporary file');
  connection.destroy(); // Node's close() of a stream would end it first
  await until(() => outcomes.length === 3, 'three outcomes');
  t.deepEqual(outcomes, [[2 * MiB, 'copy'], 'ERR_BODY_TOO_LARGE', 'ECONNRESET']);
  t.deepEqual(leftBeside(path), []);
  session.destroy();
  server.close();
});

test('more than a socket may bring, into a file that is not cut off: what lies behind is kept', async (t) => {
  const path = fresh();
  writeFileSync(path, pattern(3000));
  const flags = 'r+';
  await withPair('tcp', directory, async ({ server, client }) => {
    client.end(Buffer.alloc(1500));
    await t.throwsAsync(receiveFile(server, path, { flags, maxBytes: 1000 }), { code: 'ERR_BODY_TOO_LARGE' });
  });
  t.true(readFileSync(path).subarray(1000).equals(pattern(3000).subarray(1000)));
});

test('a socket, with and without more than it may bring', async (t) => {
  for (const [maxBytes, code] of [
    [undefined, undefined],
    [2 * MiB, undefined],
    [2 * MiB - 1, 'ERR_BODY_TOO_LARGE'],
  ] as const) {
    await withPair('tcp', directory, async ({ server, client }) => {
      const path = fresh();
      const body = pattern(2 * MiB);
      client.end(body);
      const outcome = await receiveFile(server, path, { ...(maxBytes !== undefined && { maxBytes }) }).then(
        ({ bytes }) => bytes,
        (error: TransferError) => error.code,
      );
      t.is(outcome, code ?? body.length);
      const kept = readFileSync(path);
      t.true(kept.equals(body.subarray(0, kept.length)));
      t.true(kept.length <= (maxBytes ?? body.length) && (code !== undefined || kept.length === body.length));
    });
  }
});

test.serial('published once, and told of by onProgress', async (t) => {
  const traces: { destination?: string; bytes?: number }[] = [];
  const onEnd = (trace: unknown): void => void traces.push(trace as (typeof traces)[number]);
  subscribe('tracing:zerocopy:transfer:asyncEnd', onEnd);
  try {
    for (const size of [5 * KiB, 2 * MiB]) {
      traces.length = 0;
      const path = fresh();
      const told: [number, number | undefined][] = [];
      await received(path, [headOf(size), pattern(size)], {
        onProgress: (...args) => told.push(args as [number, number]),
      });
      t.deepEqual(told.at(-1), [size, size]);
      t.like(
        traces.filter(({ destination }) => destination === 'file'),
        { length: 1, 0: { bytes: size } },
      );
    }
    traces.length = 0;
    const { error } = await received(fresh(), [headOf(5), 'abcde'], {
      onProgress() {
        throw new Error('mine');
      },
    });
    t.like(error, { code: 'ERR_TRANSFER_FAILED', message: 'mine' });
    t.is(traces.length, 1);
  } finally {
    unsubscribe('tracing:zerocopy:transfer:asyncEnd', onEnd);
  }
});

/** A small upload through pipeline: the events of its file stream, and what is in the file. */
async function piped(
  open: (path: string) => Writable,
  drive: (client: Socket) => void,
  size: number,
): Promise<unknown[]> {
  const path = fresh();
  const events: unknown[] = [];
  await serving(
    (request, response) => {
      const file = open(path);
      for (const event of ['open', 'finish', 'close', 'drain'])
        file.on(event, () => event !== 'drain' && events.push(event));
      pipeline(request, file).then(
        () => response.end('stored'),
        (error: TransferError) => {
          events.push(error.code);
          response.end('failed');
        },
      );
    },
    async (port) => {
      const client = net
        .connect(port, '127.0.0.1')
        .on('error', () => {})
        .resume();
      client.write(headOf(size));
      drive(client);
      await until(() => events.includes('close') && events.length >= 3, 'the end');
      client.destroy();
    },
  );
  return [...events, readFileSync(path).toString('latin1')];
}

test('a small upload through pipeline: what Node does, whole and broken off', async (t) => {
  const half = pattern(40 * KiB);
  const drives: ((client: Socket) => void)[] = [
    (client) => {
      client.write(half);
      setTimeout(() => client.write(half), 5);
    },
    (client) => {
      client.write(half, () => setTimeout(() => client.destroy(), 60));
    },
  ];
  for (const drive of drives) {
    const ours = await piped((path) => createSpliceWriteStream(path), drive, 80 * KiB);
    const theirs = await piped((path) => createWriteStream(path), drive, 80 * KiB);
    const [written, writtenByNode] = [String(ours.pop()), String(theirs.pop())];
    t.deepEqual(ours, theirs);
    // How much of a part is in the file depends on when the client went.
    const sent = half.toString('latin1').repeat(2);
    if (drive === drives[0]) t.deepEqual([written, writtenByNode], [sent, sent]);
    else t.true(sent.startsWith(written));
  }
});

test('what a program writes while a small upload is collected is written at once, as by Node', async (t) => {
  const body = pattern(30 * KiB);
  const own = Buffer.from('own');
  for (const join of [
    // Nothing of the body has come: a reader of its own stands in the way of the pipe.
    (request: IncomingMessage): unknown => request.on('readable', () => {}),
    // The body flows, and stalls in the midst.
    (request: IncomingMessage): unknown => once(request, 'data'),
  ]) {
    for (const make of [createSpliceWriteStream, createWriteStream]) {
      const path = fresh();
      await serving(
        async (request, response) => {
          const file = make(path);
          file.on('error', () => {}); // destroyed in the midst of a write
          request.pipe(file);
          await Promise.all([once(file, 'open'), join(request)]);
          file.write(own);
          await until(() => readFileSync(path).subarray(-own.length).equals(own), 'its own bytes');
          response.end('written');
          file.destroy();
        },
        async (port) => {
          const answer = await talk(port, [headOf(body.length + 1), body], 'written');
          t.true(answer.includes('written'));
        },
      );
    }
  }
});

test('a small upload that is collected is written when other code uses the stream', async (t) => {
  const body = pattern(30 * KiB);
  const uses: ((request: IncomingMessage, file: SpliceWriteStream) => Promise<unknown>)[] = [
    // A write with a callback: who waits for it must not wait for the body.
    (request, file) =>
      new Promise<void>((resolve) => {
        request.pipe(file);
        request.once('data', () => setImmediate(() => file.write('', () => resolve())));
      }),
    // Unpiped meanwhile.
    (request, file) =>
      new Promise<void>((resolve) => {
        request.pipe(file);
        request.once('data', () =>
          setImmediate(() => {
            request.unpipe(file);
            file.end(() => resolve());
          }),
        );
      }),
  ];
  for (const use of uses) {
    const path = fresh();
    await serving(
      async (request, response) => {
        const file = createSpliceWriteStream(path);
        await use(request, file);
        response.end('used');
        file.destroy();
      },
      async (port) => {
        const answer = await talk(port, [headOf(body.length + 1), body], 'used');
        t.true(answer.includes('used'));
      },
    );
    const written = readFileSync(path);
    t.true(written.length > 0 && written.equals(body.subarray(0, written.length)));
  }
  // Not ended by its pipe: it is written all the same.
  const path = fresh();
  await serving(
    (request, response) => {
      const file = createSpliceWriteStream(path);
      request.pipe(file, { end: false });
      request.once('end', () => response.end('ended'));
    },
    async (port) => {
      await talk(port, [headOf(body.length), body], 'ended');
      await until(() => statSync(path).size === body.length, 'the bytes');
    },
  );
  t.true(readFileSync(path).equals(body));
  // Broken off, in a pipe that leaves its destination open: what has come is written.
  const broken = fresh();
  await serving(
    (request) => request.on('error', () => {}).pipe(createSpliceWriteStream(broken)),
    async (port) => {
      const client = net.connect(port, '127.0.0.1').on('error', () => {});
      client.write(headOf(body.length + 1));
      client.write(body);
      await until(() => leftBeside(broken).length > 0, 'the file');
      client.end();
      await until(() => statSync(broken).size === body.length, 'the bytes');
    },
  );
  t.true(readFileSync(broken).equals(body));
});
