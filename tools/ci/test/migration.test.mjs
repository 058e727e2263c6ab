/** The code of docs/migration.md, run as it stands there; of the changes, both what is taken away and what is put there. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { feature } from '@zerocopy/core-syscalls';
import test from 'ava';
import { root, textOf } from '../repository-text.mjs';

const folder = mkdtempSync(join(tmpdir(), 'zerocopy-migration-'));
test.after.always(() => rmSync(folder, { recursive: true, force: true }));

const bytes = Buffer.alloc(3 * 2 ** 20, 'zerocopy ');
bytes.writeUInt32LE(0xc0ffee, 0);
mkdirSync(join(folder, 'node_modules'));
for (const name of ['@zerocopy', 'express'])
  symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name));
for (const name of ['public', 'disk']) mkdirSync(join(folder, name));
for (const name of ['public/logo.png', 'backup.tar', 'index.db']) writeFileSync(join(folder, name), bytes);
/** The ports of the documents may be another program's: the system chooses, and the address is told. */
writeFileSync(
  join(folder, 'ports.mjs'),
  `import net from 'node:net';
const { listen } = net.Server.prototype;
net.Server.prototype.listen = function (_port, ...given) {
  this.once('listening', () => console.log(this.address().port));
  return listen.call(this, 0, '127.0.0.1', ...given.filter((one) => typeof one === 'function'));
};
const { connect } = net;
net.connect = (port, ...given) => connect(port === 9000 ? Number(process.env.UPSTREAM) : port, ...given);
`,
);

const document = textOf('docs/migration.md');
const blocks = (language) =>
  [...document.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, 'gm'))].map(([, code]) => code);
const programs = blocks('js');
const changes = blocks('diff').map((code) => ({
  before: [...code.matchAll(/^- (.*)$/gm)].map(([, line]) => line),
  after: [...code.matchAll(/^\+ (.*)$/gm)].map(([, line]) => line),
}));
/** The only one that has `part` in it. */
function the(list, part) {
  const found = list.filter((one) => JSON.stringify(one).includes(part));
  if (found.length !== 1) throw new Error(`${found.length} pieces of code in docs/migration.md have ${part}`);
  return found[0];
}

let count = 0;
function start(code, env = {}, flags = []) {
  const file = join(folder, `program-${count++}.mjs`);
  writeFileSync(file, code);
  const child = spawn(process.execPath, ['--import', './ports.mjs', ...flags, file], {
    cwd: folder,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  });
  return child;
}

async function stop(child) {
  const exit = once(child, 'exit');
  child.kill();
  await exit;
}

/** The port on which it listens. */
async function told(child) {
  const [port] = await once(createInterface(child.stdout), 'line');
  return Number(port);
}

async function serving(t, code, env) {
  const child = start(code, env);
  t.teardown(() => stop(child));
  return await told(child);
}

async function output(t, code) {
  const child = start(code);
  const [printed, [status]] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  t.is(status, 0);
  return printed.trim();
}

const bodyOf = async (response) => Buffer.from(await response.arrayBuffer());

test('every program and every change of the document is run here', (t) => {
  t.is(programs.length, 4);
  t.is(changes.length, 3);
});

test('the one command that runs a program: a reverse proxy that needs no change', async (t) => {
  const commands = blocks('sh')
    .flatMap((code) => code.trim().split('\n'))
    .filter((line) => !/^npm install @zerocopy\/[a-z-]+$/.test(line));
  t.deepEqual(commands, ['node --import @zerocopy/pipeline/register proxy.js']);
  const upstream = http.createServer((request, response) => {
    response.writeHead(200, { 'content-length': request.headers['content-length'] });
    request.pipe(response);
  });
  upstream.listen(0, '127.0.0.1');
  await once(upstream, 'listening');
  t.teardown(() => upstream.close());
  const code = `import http from 'node:http';
    process.on('message', async () => {
      const { stats } = await import('@zerocopy/pipeline');
      process.send(stats());
    });
    http.createServer((request, response) => {
      const { method, headers } = request;
      const onward = http.request({ host: '127.0.0.1', port: process.env.UPSTREAM, method, headers });
      onward.on('response', (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      });
      request.pipe(onward);
    }).listen(8080);`;
  const [, , given] = commands[0].split(' ');
  const child = start(code, { UPSTREAM: String(upstream.address().port) }, ['--import', given]);
  t.teardown(() => stop(child));
  const port = await told(child);
  const answer = await fetch(`http://127.0.0.1:${port}/`, { method: 'PUT', body: bytes });
  t.true((await bodyOf(answer)).equals(bytes));
  child.send('stats');
  const [stats] = await once(child, 'message');
  if (feature('splice').available) t.deepEqual(stats.kinds, { 'body->http': 2 });
});

test('sendFile: a file, and 404 where there is none', async (t) => {
  const code = the(programs, "sendFile(response, 'public/logo.png')");
  const found = await fetch(`http://127.0.0.1:${await serving(t, code)}/`);
  t.is(found.status, 200);
  t.true((await bodyOf(found)).equals(bytes));
  const missing = await serving(t, code.replace('public/logo.png', 'public/none.png'));
  t.is((await fetch(`http://127.0.0.1:${missing}/`)).status, 404);
});

test('proxy: both directions, and the end of each', async (t) => {
  const upstream = net.createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
  upstream.listen(0, '127.0.0.1');
  await once(upstream, 'listening');
  t.teardown(() => upstream.close());
  const code = the(programs, 'proxy(client');
  const port = await serving(t, code, { UPSTREAM: String(upstream.address().port) });
  const client = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  client.end(bytes);
  const received = [];
  for await (const chunk of client) received.push(chunk);
  t.true(Buffer.concat(received).equals(bytes));
});

test('copyFile: the copy, and how it was made', async (t) => {
  const code = the(programs, 'copyFile(').replace('/mnt/disk/', `${folder}/disk/`);
  t.regex(await output(t, code), /^(reflink|copy_file_range|splice|copy)$/);
  t.true(readFileSync(join(folder, 'disk/backup.tar')).equals(bytes));
});

test('mapFile: the number at its beginning', async (t) => {
  t.is(await output(t, the(programs, 'mapFile(')), String(0xc0ffee));
});

for (const side of ['before', 'after']) {
  test(`the stream of a part of a file, ${side} the change`, async (t) => {
    const lines = the(changes, 'createSendfileStream')[side];
    const code = `import http from 'node:http';
      import { pipeline } from 'node:stream';
      ${lines[0]}
      const path = 'public/logo.png', start = 9, end = 2 ** 20, done = (error) => { if (error) throw error; };
      http.createServer((request, response) => { ${lines.slice(1).join('\n')} }).listen(8080);`;
    const response = await fetch(`http://127.0.0.1:${await serving(t, code)}/`);
    t.is(response.status, 200);
    t.true((await bodyOf(response)).equals(bytes.subarray(9, 2 ** 20 + 1)));
  });

  test(`static files in Express, ${side} the change`, async (t) => {
    const [line] = the(changes, 'serveFiles')[side];
    const code = `import express from 'express';
      import { serveFiles } from '@zerocopy/serve-files';
      const app = express();
      ${line}
      app.listen(8080);`;
    const port = await serving(t, code);
    const response = await fetch(`http://127.0.0.1:${port}/logo.png`);
    t.is(response.headers.get('content-type'), 'image/png');
    t.true((await bodyOf(response)).equals(bytes));
    t.is((await fetch(`http://127.0.0.1:${port}/none.png`)).status, 404);
  });

  test(`an upload into a file, ${side} the change`, async (t) => {
    const [line] = the(changes, 'createSpliceWriteStream')[side];
    const path = join(folder, `upload-${side}`);
    const code = `import { createWriteStream } from 'node:fs';
      import http from 'node:http';
      import { pipeline } from 'node:stream/promises';
      import { createSpliceWriteStream } from '@zerocopy/splice-pipe';
      const path = ${JSON.stringify(path)};
      http.createServer(async (request, response) => {
        ${line}
        response.end('stored');
      }).listen(8080);`;
    const port = await serving(t, code);
    const response = await fetch(`http://127.0.0.1:${port}/`, { method: 'PUT', body: bytes });
    t.is(await response.text(), 'stored');
    t.true(readFileSync(path).equals(bytes));
  });
}
