/** The recipes of the README, as they stand in examples/. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, renameSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TransferResult } from '@zerocopy/core-syscalls';
import test from 'ava';
import { get, kernelTest, MiB, pattern, temporaryDirectory, until, writeFile } from './harness.js';

const directory = temporaryDirectory();
const content = pattern(3 * MiB);
const fromPackage = (file: string): string => fileURLToPath(new URL(`../${file}`, import.meta.url));

test('the README shows them as they are', (t) => {
  const readme = readFileSync(fromPackage('README.md'), 'utf8');
  for (const name of readdirSync(fromPackage('examples'))) {
    t.true(readme.includes(`\`\`\`js\n${readFileSync(fromPackage(`examples/${name}`), 'utf8')}\`\`\``), name);
  }
});

for (const name of ['http', 'express', 'fastify', 'koa']) {
  // koa asks for the global Response, and Node's own asks for WebAssembly: whatever the body is.
  const runnable = name !== 'koa' || 'WebAssembly' in globalThis;
  const title = `${name}: the kernel sends, the length is told, the connection is kept`;
  (runnable ? kernelTest : test.skip)(runnable ? title : `${title} (koa needs WebAssembly)`, async (t) => {
    const own = writeFile(join(directory, name), content);
    const child = fork(fromPackage('test/fixtures/run-example.mjs'), [fromPackage(`examples/${name}.mjs`), own], {
      env: { ...process.env, PORT: '0' },
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    });
    let complaints = '';
    child.stderr?.on('data', (text) => {
      complaints += text;
    });
    const silent = child.stderr && once(child.stderr, 'end');
    const results: TransferResult[] = [];
    let port: number | undefined;
    child.on('message', (message: { port?: number; result?: TransferResult }) => {
      port ??= message.port;
      if (message.result !== undefined) results.push(message.result);
    });
    await until(() => port !== undefined, `${name} listening`);
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    for (let n = 0; n < 3; n++) {
      const { body, headers } = await get(port as number, { agent, host: 'localhost' });
      t.true(body.equals(content));
      t.is(headers['content-length'], String(content.length));
      t.regex(headers['content-type'] ?? '', /^application\/octet-stream/);
    }
    await until(() => results.length === 3);
    t.true(results.every(({ method, bytes }) => method === 'sendfile' && bytes === content.length));

    // A download that is broken off is no reason for the server to go.
    const request = http.get({ port, host: 'localhost', agent: false });
    request.on('error', () => {});
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    response.on('error', () => {});
    response.destroy();
    t.true((await get(port as number, { agent, host: 'localhost' })).body.equals(content));
    renameSync(own, `${own}-away`);
    t.is((await get(port as number, { agent, host: 'localhost' })).status, 404);
    agent.destroy();
    child.disconnect();
    await Promise.all([once(child, 'exit'), silent]);
    t.is(complaints, '');
  });
}
