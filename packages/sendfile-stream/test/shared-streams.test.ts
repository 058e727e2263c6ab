/** Streams and signals that others own: nothing of ours stays on them, and nothing that others did to them is trusted. */
import { execFileSync, spawn } from 'node:child_process';
import { setMaxListeners } from 'node:events';
import { createReadStream } from 'node:fs';
import { Agent } from 'node:http';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { constants, descriptorOf, syscalls } from '@zerocopy/core-syscalls';
import { createSendfileStream, OpenFile, sendFile, type TransferLease } from '@zerocopy/sendfile-stream';
import test from 'ava';
import {
  collect,
  get,
  kernelTest,
  MiB,
  pattern,
  temporaryDirectory,
  until,
  withHttpServer,
  withSockets,
  writeFile,
} from './harness.js';

const directory = temporaryDirectory();
const content = pattern(200_000);
const path = writeFile(join(directory, 'file'), content);
const small = writeFile(join(directory, 'small'), content.subarray(0, 3000));

test('a response whose end others have replaced, and which drops the callback: sendFile settles', async (t) => {
  for (const [file, size] of [
    [small, 3000],
    [path, 200_000],
  ] as const) {
    let result: unknown;
    await withHttpServer(
      (_request, response) => {
        const { end } = response;
        // As express-session does: the end comes later, and without its callback.
        response.end = ((chunk: Buffer) => {
          setTimeout(() => Reflect.apply(end, response, [chunk]), 5);
          return response;
        }) as typeof end;
        void sendFile(response, file).then((value) => {
          result = value;
        });
      },
      async (port) => {
        // A client that closes when it has all of the body may do so before that end.
        const agent = new Agent({ keepAlive: true });
        t.is((await get(port, { agent })).body.length, size);
        await until(() => result !== undefined, 'the promise');
        t.like(result, { bytes: size });
        agent.destroy();
      },
    );
  }
});

test('responses and streams of HTTP/2 are ended as those of HTTP/1', async (t) => {
  const server = http2.createServer((request, response) => {
    if (request.url === '/open') {
      response.writeHead(200);
      void sendFile(response, path).then(() => response.end('more'));
    } else void sendFile(response, path);
  });
  server.listen(0);
  await new Promise<void>((resolve) => server.once('listening', () => resolve()));
  const session = http2.connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  for (const [target, size] of [
    ['/', 200_000],
    ['/open', 200_004],
  ] as const) {
    t.is((await collect(session.request({ ':path': target }))).length, size);
  }
  session.close();
  server.close();
});

kernelTest('15 transfers on one socket, one message, one signal: no warning of a leak', async (t) => {
  const warnings: string[] = [];
  const onWarning = ({ message }: Error): void => void warnings.push(message);
  process.on('warning', onWarning);
  const { signal } = new AbortController();
  await withSockets('tcp', async (server, client) => {
    client.resume();
    await Promise.all(Array.from({ length: 15 }, () => sendFile(server, path, { signal })));
    t.is(server.listenerCount('error'), 0);
  });
  const sink = new PassThrough();
  sink.resume();
  await Promise.all(Array.from({ length: 15 }, () => sendFile(sink, small)));
  await withHttpServer(
    (_request, response) => {
      response.writeHead(200);
      const all = Array.from({ length: 15 }, () => sendFile(response, path, { endMessage: false }));
      void Promise.all(all).then(() => response.end());
    },
    async (port) => {
      t.is((await get(port)).body.length, 15 * 200_000);
    },
  );
  await new Promise((resolve) => setTimeout(resolve, 20));
  process.off('warning', onWarning);
  t.deepEqual(
    warnings.filter((message) => message.includes('listeners')),
    [],
  );
});

kernelTest('the standard output whose reader has gone: it only rejects', async (t) => {
  const program = `
    import { sendFile } from '@zerocopy/sendfile-stream';
    process.on('uncaughtException', (error) => process.stderr.write('uncaught ' + error.code));
    await new Promise((resolve) => setTimeout(resolve, 100));
    await sendFile(process.stdout, process.argv[1]).catch((error) => process.stderr.write('rejected ' + error.code + ' '));
    setTimeout(() => {}, 100);`;
  for (const file of [small, path]) {
    const child = spawn(process.execPath, ['--input-type=module', '-e', program, file], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stdout.destroy();
    t.regex(String(await collect(child.stderr)).trim(), /^rejected (EPIPE|ECONNRESET)$/);
  }
});

kernelTest(
  'a socket that was full, and whose transfer is given up while it waits, holds no small write back',
  async (t) => {
    for (const how of ['aborted', 'unpiped'] as const) {
      await withSockets('tcp', async (server, client) => {
        while (server.write(Buffer.alloc(MiB))); // full
        server.write('x');
        const controller = new AbortController();
        if (how === 'aborted') {
          const sent = sendFile(server, path, { signal: controller.signal });
          await new Promise((resolve) => setTimeout(resolve, 10));
          controller.abort();
          await t.throwsAsync(sent, { code: 'ABORT_ERR' });
        } else {
          const stream = createSendfileStream(path);
          stream.pipe(server, { end: false });
          await new Promise((resolve) => setTimeout(resolve, 10));
          stream.unpipe(server);
          stream.destroy();
        }
        client.resume();
        await until(() => server.writableLength === 0);
        const fd = descriptorOf(server) as number;
        await until(
          () => syscalls.getsockopt(fd, constants.IPPROTO_TCP, constants.TCP_CORK) === 0,
          `TCP_CORK taken back, ${how}`,
        );
      });
    }
  },
);

kernelTest('timers that a test has replaced do not stop a transfer', async (t) => {
  const big = writeFile(join(directory, 'timers'), pattern(4 * MiB));
  const program = `
    import net from 'node:net';
    import { mock } from 'node:test';
        import { createSendfileStream, sendFile } from '@zerocopy/sendfile-stream';
    const server = net.createServer(async (socket) => {
      mock.timers.enable();
      const { bytes } = await sendFile(socket, process.argv[1]);
      const stream = createSendfileStream(process.argv[1]);
      stream.pipe(socket);
      await new Promise((resolve) => stream.once('close', resolve));
      console.log(bytes, stream.bytesRead);
      process.exit();
    }).listen(0, () => net.connect(server.address().port).resume());`;
  const child = spawn(process.execPath, ['--no-warnings', '--input-type=module', '-e', program, big], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const timer = setTimeout(() => child.kill(), 30_000);
  t.is(String(await collect(child.stdout)).trim(), `${4 * MiB} ${4 * MiB}`);
  clearTimeout(timer);
});

test('paths, URLs and signals of other makes are taken by their shape', async (t) => {
  const listeners = new Set<() => void>();
  const signal = {
    aborted: false,
    reason: undefined,
    addEventListener: (_event: string, listener: () => void) => listeners.add(listener),
    removeEventListener: (_event: string, listener: () => void) => listeners.delete(listener),
  };
  const url = pathToFileURL(small);
  const shape = { href: url.href, protocol: url.protocol, hostname: '', pathname: url.pathname, host: '' };
  for (const source of [new Uint8Array(Buffer.from(small)), shape]) {
    const sink = new PassThrough();
    sink.resume();
    t.like(await sendFile(sink, source as never, { signal: signal as never }), { bytes: 3000 });
  }
  t.is(listeners.size, 0);
  const sink = new PassThrough();
  sink.write(Buffer.alloc(MiB));
  const sent = sendFile(sink, path, { signal: signal as never });
  await until(() => listeners.size > 0);
  signal.aborted = true;
  for (const listener of [...listeners]) listener();
  await t.throwsAsync(sent, { code: 'ABORT_ERR' });
});

test('a signal that lives long keeps nothing of a transfer under a lease', async (t) => {
  let added = 0;
  const { signal } = new AbortController();
  setMaxListeners(0, signal);
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...args: Parameters<typeof addEventListener>) => {
    added++;
    Reflect.apply(addEventListener, signal, args);
  };
  signal.removeEventListener = (...args: Parameters<typeof removeEventListener>) => {
    added--;
    Reflect.apply(removeEventListener, signal, args);
  };
  const lease: TransferLease = { state: 'held', on: () => {}, release: async () => {} };
  for (let n = 0; n < 20; n++) {
    const sink = new PassThrough();
    sink.resume();
    await sendFile(sink, small, { signal, lease: { acquire: async () => lease } });
  }
  t.is(added, 0);
  const dependants = Object.getOwnPropertySymbols(signal).find(
    ({ description }) => description === 'kDependantSignals',
  );
  t.true(dependants === undefined || (signal as never as Record<symbol, Set<unknown>>)[dependants]?.size === 0);
});

test('a lease whose deadline is beyond what a timer takes, or Infinity, is not broken at once', async (t) => {
  for (const deadlineMs of [2 ** 31, 1e15, Number.POSITIVE_INFINITY]) {
    const lease: TransferLease = {
      state: 'held',
      on: (_event, listener) => setImmediate(() => listener({ deadlineMs })),
      release: async () => {},
    };
    const sink = new PassThrough();
    setTimeout(() => sink.resume(), 30);
    t.like(await sendFile(sink, path, { lease: { acquire: async () => lease } }), { bytes: 200_000 });
  }
});

test('an open file: sent again and again, closed with its last reference', async (t) => {
  const file = await OpenFile.open(path);
  t.like(file, { size: 200_000, path });
  await withHttpServer(
    (_request, response) => void sendFile(response, file),
    async (port) => {
      for (let n = 0; n < 3; n++) t.true((await get(port)).body.equals(content));
    },
  );
  const sink = new PassThrough();
  const sent = sendFile(sink, file);
  await file.release();
  sink.resume();
  t.like(await sent, { bytes: 200_000 });
  t.throws(() => file.hold(), { code: 'ERR_INVALID_STATE' });
  await t.throwsAsync(sendFile(sink, file), { code: 'ERR_INVALID_STATE' });
  await file.release(); // once too often: nothing happens
});

test('two copies of the package in one process: both send, and share a socket', async (t) => {
  const program = `
    import { mkdirSync, cpSync, symlinkSync, rmSync } from 'node:fs';
    import net from 'node:net';
    const [root, to, file] = process.argv.slice(1);
    for (const name of ['core-syscalls', 'transfer', 'sendfile-stream']) {
      cpSync(root + '/' + name + '/dist', to + '/node_modules/@zerocopy/' + name + '/dist', { recursive: true });
      cpSync(root + '/' + name + '/package.json', to + '/node_modules/@zerocopy/' + name + '/package.json');
    }
    symlinkSync(root + '/../node_modules/koffi', to + '/node_modules/koffi');
    const one = await import(root + '/sendfile-stream/dist/index.js');
    const two = await import(to + '/node_modules/@zerocopy/sendfile-stream/dist/index.js');
    const server = net.createServer(async (socket) => {
      const results = await Promise.all([one.sendFile(socket, file), two.sendFile(socket, file), one.sendFile(socket, file)]);
      socket.end();
      console.log(JSON.stringify(results.map(({ method, bytes }) => [method, bytes])));
      server.close();
    }).listen(0, () => net.connect(server.address().port).resume());`;
  const root = new URL('../..', import.meta.url).pathname.replace(/\/$/, '');
  const copy = join(temporaryDirectory(), 'copy');
  const output = execFileSync(process.execPath, ['--input-type=module', '-e', program, root, copy, path], {
    encoding: 'utf8',
  });
  const results = JSON.parse(output) as [string, number][];
  t.deepEqual(
    results.map(([, bytes]) => bytes),
    [200_000, 200_000, 200_000],
  );
  t.is(new Set(results.map(([method]) => method)).size, 1, output);
});

for (const [file, what] of [
  [small, 'a small file'],
  [path, 'a file'],
] as const) {
  kernelTest(`${what}, the 'data' listener of its pipe removed: nothing of it comes, as from Node's own`, async (t) => {
    for (const when of ['at once', 'in the next tick'] as const) {
      const logs: unknown[][] = [];
      for (const make of [createReadStream, createSendfileStream]) {
        await withSockets('tcp', async (server, client) => {
          const log: unknown[] = [];
          const stream = make(file);
          stream.on('end', () => log.push('end')).pipe(server);
          const remove = (): unknown => stream.removeAllListeners('data');
          if (when === 'at once') remove();
          else process.nextTick(remove);
          log.push((await collect(client)).length);
          logs.push(log);
        });
      }
      t.deepEqual(logs[1], logs[0], when);
      t.deepEqual(logs[0], ['end', 0]);
    }
  });
}
