/** The recipes of the README, as they stand in examples/. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import http, { type IncomingMessage } from 'node:http';
import { connect, type NetConnectOpts, type Socket } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { feature, type TransferResult } from '@zerocopy/core-syscalls';
import test from 'ava';
import { collect, kernelTest, listen, MiB, pattern, temporaryDirectory, until } from './harness.js';

const directory = temporaryDirectory();
const content = pattern(3 * MiB);
const fromPackage = (file: string): string => fileURLToPath(new URL(`../${file}`, import.meta.url));

test('the README shows them as they are, and none is longer than 40 lines', (t) => {
  const readme = readFileSync(fromPackage('README.md'), 'utf8');
  for (const name of readdirSync(fromPackage('examples'))) {
    const source = readFileSync(fromPackage(`examples/${name}`), 'utf8');
    t.true(readme.includes(`\`\`\`js\n${source}\`\`\``), name);
    t.true(source.split('\n').length <= 40, name);
  }
});

async function running(
  name: string,
  parameters: readonly string[],
  use: (port: number, results: TransferResult[]) => Promise<void>,
): Promise<void> {
  const child = fork(
    fromPackage('test/fixtures/run-example.mjs'),
    [fromPackage(`examples/${name}.mjs`), ...parameters],
    {
      env: { ...process.env, PORT: '0' },
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    },
  );
  const exit = once(child, 'exit');
  const results: TransferResult[] = [];
  let port: number | undefined;
  child.on('message', (message: { port?: number; result?: TransferResult }) => {
    port ??= message.port;
    if (message.result !== undefined) results.push(message.result);
  });
  try {
    await until(() => port !== undefined, `${name} listening`);
    await use(port as number, results);
  } finally {
    child.disconnect();
    await exit;
  }
}

const echo = (): ReturnType<typeof listen> =>
  listen('tcp', directory, (socket) => socket.on('error', () => {}).pipe(socket));
const portOf = ({ address }: { address: NetConnectOpts }): string => String((address as { port: number }).port);

async function there(socket: Socket): Promise<void> {
  const received = collect(socket);
  socket.end(content);
  if (!(await received).equals(content)) throw new Error('other bytes came back');
}

kernelTest('tcp-proxy: both directions by the kernel; a reset is no reason for it to go', async (t) => {
  const upstream = await echo();
  await running('tcp-proxy', ['127.0.0.1', portOf(upstream)], async (port, results) => {
    await there(connect({ port, host: '127.0.0.1', allowHalfOpen: true }));
    await until(() => results.length === 2);
    for (const result of results) t.like(result, { bytes: content.length, method: 'splice' });
    const broken = connect(port, '127.0.0.1');
    broken.write('x');
    await once(broken, 'data');
    broken.resetAndDestroy();
    await there(connect({ port, host: '127.0.0.1', allowHalfOpen: true }));
  });
  upstream.close();
});

kernelTest('upload: the body is in the file, by the kernel, and the connection is kept', async (t) => {
  const uploads = join(directory, 'uploads');
  mkdirSync(uploads);
  await running('upload', [uploads], async (port, results) => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    for (let n = 1; n <= 3; n++) {
      const headers = { 'Content-Length': content.length };
      const request = http.request({ port, host: 'localhost', method: 'PUT', agent, headers });
      request.end(content);
      const [response] = (await once(request, 'response')) as [IncomingMessage];
      t.is(response.statusCode, 201);
      const name = (await collect(response)).toString();
      t.true(readFileSync(join(uploads, name)).equals(content));
      await until(() => results.length === n);
      t.is(results.at(-1)?.method, 'splice');
    }
    agent.destroy();
  });
});

kernelTest('receive: whole files under their names, and 413 for what is too large', async (t) => {
  const uploads = join(directory, 'received');
  mkdirSync(uploads);
  await running('receive', [uploads, String(content.length)], async (port) => {
    for (const [body, status] of [
      [content, 201],
      [Buffer.concat([content, content]), 413],
    ] as const) {
      for (const headers of [{ 'Content-Length': body.length }, { 'Transfer-Encoding': 'chunked' }]) {
        const request = http.request({ port, host: 'localhost', method: 'PUT', headers }).on('error', () => {});
        request.end(body);
        const [response] = (await once(request, 'response')) as [IncomingMessage];
        t.is(response.statusCode, status);
        const name = (await collect(response)).toString();
        if (status === 201) t.true(readFileSync(join(uploads, name)).equals(content));
      }
    }
    t.is(readdirSync(uploads).length, 2);
  });
});

kernelTest('connect: a tunnel, and one to nowhere', async (t) => {
  const upstream = await echo();
  await running('connect', [], async (port, results) => {
    const request = http.request({ port, host: 'localhost', method: 'CONNECT', path: `127.0.0.1:${portOf(upstream)}` });
    request.end();
    const [response, socket] = (await once(request, 'connect')) as [IncomingMessage, Socket];
    t.is(response.statusCode, 200);
    await there(socket);
    await until(() => results.length === 2);
    const nowhere = http.request({ port, host: 'localhost', method: 'CONNECT', path: '127.0.0.1:1' });
    nowhere.end();
    await t.throwsAsync(once(nowhere, 'connect'));
  });
  upstream.close();
});

kernelTest('upload: what is too large, chunked or breaks off leaves nothing behind', async (t) => {
  const uploads = join(directory, 'refused');
  mkdirSync(uploads);
  await running('upload', [uploads, '1000'], async (port, results) => {
    const put = (headers: http.OutgoingHttpHeaders): http.ClientRequest =>
      http.request({ port, host: 'localhost', method: 'PUT', headers }).on('error', () => {});
    for (const [headers, status] of [
      [{ 'Content-Length': 1001 }, 413],
      [{ 'Transfer-Encoding': 'chunked' }, 411],
    ] as const) {
      const request = put(headers);
      request.flushHeaders();
      const [response] = (await once(request, 'response')) as [IncomingMessage];
      t.is(response.statusCode, status);
      request.destroy();
    }
    const broken = put({ 'Content-Length': 1000 });
    broken.write('x'.repeat(500));
    await until(() => readdirSync(uploads).length === 1);
    broken.destroy();
    await until(() => readdirSync(uploads).length === 0);
    t.true(results.every(({ bytes }) => bytes < 1000));
  });
});

kernelTest('record: both directions arrive, and are in their files', async (t) => {
  const upstream = await echo();
  const file = join(directory, 'recorded');
  await running('record', [file, portOf(upstream)], async (port, results) => {
    await there(connect({ port, host: '127.0.0.1', allowHalfOpen: true }));
    await until(() => results.length === 2);
    const { available, reason } = feature('tee');
    for (const result of results) {
      t.like(result, { bytes: content.length, method: available ? 'splice' : 'copy', fallbackReason: reason });
    }
    for (const direction of ['up', 'down']) t.true(readFileSync(`${file}-1.${direction}`).equals(content), direction);
    const broken = connect(port, '127.0.0.1');
    broken.write('x');
    await once(broken, 'data');
    broken.resetAndDestroy();
    await there(connect({ port, host: '127.0.0.1', allowHalfOpen: true }));
  });
  upstream.close();
});
