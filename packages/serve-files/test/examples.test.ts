/** The recipes of the README, as they stand in examples/, each in a process of its own. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { ask, MiB, pattern, tree, until } from './harness.js';

const fromPackage = (file: string): string => fileURLToPath(new URL(`../${file}`, import.meta.url));
const video = pattern(3 * MiB);
const root = tree({
  'index.html': '<!doctype html><title>home</title>',
  'a.txt': '0123456789',
  'assets/index-Bv3xJ0ka.js': 'app',
  'assets/index-Bv3xJ0ka.js.br': 'br',
  'film.mp4': video,
});

async function running(name: string, use: (port: number) => Promise<void>): Promise<void> {
  const child: ChildProcess = fork(
    fromPackage('test/fixtures/run-example.mjs'),
    [fromPackage(`examples/${name}`), root],
    {
      env: { ...process.env, PORT: '0' },
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    },
  );
  let port: number | undefined;
  child.on('message', (message: { port?: number }) => {
    port ??= message.port;
  });
  await until(() => port !== undefined || child.exitCode !== null, `${name} listening`);
  try {
    await use(port as number);
  } finally {
    child.disconnect();
    await once(child, 'exit');
  }
}

test('the README shows them as they are', (t) => {
  const readme = readFileSync(fromPackage('README.md'), 'utf8');
  for (const name of readdirSync(fromPackage('examples'))) {
    t.true(readme.includes(`\`\`\`js\n${readFileSync(fromPackage(`examples/${name}`), 'utf8')}\`\`\``), name);
  }
});

for (const name of readdirSync(fromPackage('examples'))) {
  // Koa and Hono ask for the global Response, and Node's own asks for WebAssembly.
  const runnable = !/koa|hono/.test(name) || 'WebAssembly' in globalThis;
  const run = runnable ? test.serial : test.skip;
  run(runnable ? `${name} runs` : `${name} runs (needs WebAssembly)`, (t) =>
    running(name, async (port) => {
      const whole = await ask(port, '/a.txt');
      t.is(whole.status, 200);
      t.is(whole.body.toString(), '0123456789');
      t.is((await ask(port, '/a.txt', { headers: [`If-None-Match: ${whole.headers.etag}`] })).status, 304);
      const seek = await ask(port, '/film.mp4', { headers: ['Range: bytes=2000000-2000999'] });
      t.is(seek.status, 206);
      t.is(seek.headers['content-type'], 'video/mp4');
      t.true(seek.body.equals(video.subarray(2_000_000, 2_001_000)));
      t.is((await ask(port, '/nothing.txt')).status, 404);
      if (name !== 'video.mjs') {
        const script = await ask(port, '/assets/index-Bv3xJ0ka.js', { headers: ['Accept-Encoding: br'] });
        t.is(script.headers['content-encoding'], 'br');
        t.is(script.headers.vary, 'Accept-Encoding');
      }
      if (['fastify.mjs', 'koa.mjs', 'hono.mjs'].includes(name)) {
        t.is((await ask(port, '/api')).body.toString(), '{"answer":42}');
      }
      if (name === 'http.mjs') {
        t.regex((await ask(port, '/users/1', { headers: ['Accept: text/html'] })).body.toString(), /home/);
        t.regex((await ask(port, '/assets/index-Bv3xJ0ka.js')).headers['cache-control'] ?? '', /immutable/);
      }
      if (name === 'express.mjs') {
        const report = await ask(port, '/reports/a');
        t.is(report.headers['content-disposition'], 'attachment; filename=a.txt');
        t.is((await ask(port, '/reports/..%2f..%2fetc%2fpasswd')).status, 404);
      }
    }),
  );
}
