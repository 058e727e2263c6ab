/** The code of docs/observability.md, run as it stands there beside real transfers. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { root, textOf } from '../repository-text.mjs';

const folder = mkdtempSync(join(tmpdir(), 'zerocopy-docs-'));
test.after.always(() => rmSync(folder, { recursive: true, force: true }));

const api = join(folder, 'node_modules', '@opentelemetry', 'api');
mkdirSync(api, { recursive: true });
symlinkSync(join(root, 'node_modules', '@zerocopy'), join(folder, 'node_modules', '@zerocopy'));
writeFileSync(join(api, 'package.json'), '{ "type": "module", "exports": "./index.js" }');
// In the place of the real one: what it is called with, and nothing else.
writeFileSync(
  join(api, 'index.js'),
  `export const SpanStatusCode = { UNSET: 0, OK: 1, ERROR: 2 };
export const spans = [];
export const trace = {
  getTracer: (tracer) => ({
    startSpan(name, { attributes }) {
      const span = { tracer, name, attributes: { ...attributes }, ended: 0 };
      spans.push(span);
      return {
        setAttributes: (more) => Object.assign(span.attributes, more),
        recordException: (error) => { span.exception = error.code; },
        setStatus: (status) => { span.status = status.code; },
        end: () => { span.ended++; },
      };
    },
  }),
};
`,
);
for (const [, code] of textOf('docs/observability.md').matchAll(/^```js\n([\s\S]*?)^```/gm)) {
  const [, name] = /^\/\/ (\S+\.mjs)\n/.exec(code);
  writeFileSync(join(folder, name), code);
}

/** A transfer of 3 MiB that arrives, and one of more than any socket's buffers hold, whose peer goes away after the first bytes. */
const transfers = `
import { truncateSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { once } from 'node:events';
import { sendFile } from '@zerocopy/sendfile-stream';
const path = new URL('./data.bin', import.meta.url).pathname;
writeFileSync(path, Buffer.alloc(3 * 2 ** 20, 'zerocopy'));
export async function transfer(goesAway) {
  if (goesAway) truncateSync(path, 2 ** 28);
  const server = net.createServer((peer) => {
    peer.on('error', () => {});
    if (goesAway) peer.once('data', () => peer.resetAndDestroy());
    else peer.resume();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = net.connect(server.address().port, '127.0.0.1');
  socket.on('error', () => {});
  await once(socket, 'connect');
  const outcome = await sendFile(socket, path).then(({ bytes }) => bytes, ({ code }) => code);
  socket.destroy();
  server.close();
  return outcome;
}
`;
writeFileSync(join(folder, 'transfers.mjs'), transfers);

function run(name, code, env = {}) {
  writeFileSync(join(folder, name), code);
  const { ZEROCOPY_DISABLE: _, ...inherited } = process.env;
  const options = { encoding: 'utf8', timeout: 30_000, env: { ...inherited, ...env } };
  return spawnSync(process.execPath, [join(folder, name)], options);
}

for (const [title, env, method] of [
  ['', {}, process.platform === 'linux' ? 'sendfile' : 'copy'],
  [' where nothing but copies is possible', { ZEROCOPY_DISABLE: 'all' }, 'copy'],
]) {
  test(`counters for Prometheus${title}`, (t) => {
    const { stdout, stderr } = run(
      `counters-${method}.mjs`,
      `import { metrics } from './metrics.mjs';
       import { transfer } from './transfers.mjs';
       await transfer(false); await transfer(false);
       console.log(metrics());`,
      env,
    );
    t.true(stdout.includes(`\nzerocopy_transfers_total{method="${method}",outcome="ok"} 2\n`), `${stdout}${stderr}`);
    t.true(stdout.includes(`\nzerocopy_bytes_total{method="${method}"} ${6 * 2 ** 20}\n`), stdout);
    t.regex(stdout, /\nzerocopy_pipes_in_use 0\n/);
    t.regex(stdout, /\nzerocopy_mapped_bytes \d+\n/);
    t.is(stderr.split('zerocopy copies: ').length - 1, method === 'copy' ? 1 : 0, stderr);
  });
}

/** Pipes of a program that does not know of the packages: a file into a socket, and one into a stream that is nobody's. */
const pipes = `
import { createReadStream } from 'node:fs';
import net from 'node:net';
import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import './transfers.mjs';
const server = net.createServer((peer) => peer.resume()).listen(0, '127.0.0.1');
await once(server, 'listening');
const socket = net.connect(server.address().port, '127.0.0.1');
await once(socket, 'connect');
createReadStream(new URL('./data.bin', import.meta.url)).pipe(socket);
createReadStream(new URL('./data.bin', import.meta.url)).pipe(new PassThrough()).resume();
await once(socket, 'close');
server.close();
`;
writeFileSync(join(folder, 'pipes.mjs'), pipes);

if (process.platform === 'linux') {
  test('counters and spans of pipes that were moved beneath a program that does not know of it', (t) => {
    const { stdout, stderr } = run(
      'piped.mjs',
      `import '@zerocopy/pipeline/register';
       import './spans.mjs';
       import { pipeMetrics } from './pipe-metrics.mjs';
       import { spans } from '@opentelemetry/api';
       await import('./pipes.mjs');
       console.log(pipeMetrics());
       console.log(JSON.stringify(spans));`,
    );
    t.true(stdout.includes('\nzerocopy_pipes_total{kind="file->socket"} 1\n'), `${stdout}${stderr}`);
    t.true(stdout.includes(`\nzerocopy_pipe_bytes_total{method="sendfile"} ${3 * 2 ** 20}\n`), stdout);
    t.regex(stdout, /\nzerocopy_pipes_declined_total\{reason="the destination is no file[^"]*PassThrough"\} 1\n/);
    const [span, ...others] = JSON.parse(stdout.trim().split('\n').at(-1));
    t.deepEqual(others, []);
    t.is(span.attributes['zerocopy.bytes'], 3 * 2 ** 20);
    t.is(span.attributes['zerocopy.method'], 'sendfile');
  });
}

test('spans for OpenTelemetry: one for each transfer, and a peer that goes away is an exception', (t) => {
  const { stdout, stderr } = run(
    'traced.mjs',
    `import './spans.mjs';
     import { spans } from '@opentelemetry/api';
     import { transfer } from './transfers.mjs';
     await transfer(false);
     const outcome = await transfer(true);
     console.log(JSON.stringify({ spans, outcome }));`,
  );
  t.is(stderr, '');
  const { spans, outcome } = JSON.parse(stdout);
  t.deepEqual(
    spans.map(({ name, ended, status }) => ({ name, ended, status })),
    [
      { name: 'zerocopy.transfer', ended: 1, status: undefined },
      { name: 'zerocopy.transfer', ended: 1, status: 2 },
    ],
  );
  t.is(spans[0].attributes['zerocopy.bytes'], 3 * 2 ** 20);
  t.regex(String(outcome), /^(ECONNRESET|EPIPE)$/);
  t.is(spans[1].exception, outcome);
});

test('the report', (t) => {
  const { stdout, status } = run('print.mjs', "import './report.mjs';");
  t.is(status, 0);
  t.regex(stdout, /sendfile/);
});
