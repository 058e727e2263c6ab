/** `zerocopy serve` and `zerocopy proxy`, in this process: what they answer, and how they stop. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import http, { type IncomingMessage } from 'node:http';
import https from 'node:https';
import net, { type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { until } from '@zerocopy/testing/waiting';
import test from 'ava';
import { type Running, start, temporary, zerocopy } from './harness.js';

const directory = temporary(test);
const [withOpenssl, noOpenssl] =
  spawnSync('openssl', ['version']).status === 0
    ? [test, '']
    : [test.skip, ' (needs openssl, which makes a certificate)'];
const root = join(directory, 'site');
mkdirSync(join(root, 'sub'), { recursive: true });
writeFileSync(join(root, 'index.html'), 'home');
writeFileSync(join(root, '.env'), 'secret');
writeFileSync(join(root, 'big'), Buffer.alloc(4 * 2 ** 20, 'b'));

interface Reply {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

async function get(port: number, path: string, options: http.RequestOptions = {}): Promise<Reply> {
  const request = http.get({ host: '127.0.0.1', port, path, agent: false, ...options });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  let body = '';
  for await (const chunk of response.setEncoding('latin1')) body += chunk;
  return { status: response.statusCode ?? 0, headers: response.headers, body };
}

const portOf = async (running: Running): Promise<number> => Number((await running.said(/:(\d+)(?:\/| )/))[1]);

test('serve: what is closed, a password, header fields, a log, and status 0 when it is stopped', async (t) => {
  const hash = createHash('sha256').update('pass:word').digest('hex');
  const args = ['serve', root, '-l', 'tcp://127.0.0.1:0', '--spa', '--cors', '--header', 'X-One: 1', '--log', 'json'];
  const running = start([...args, '--auth', `me:sha256:${hash}`]);
  const port = await portOf(running);
  const auth = 'me:pass:word';
  t.is((await get(port, '/')).status, 401);
  t.is((await get(port, '/', { auth: 'me:wrong' })).status, 401);
  t.is((await get(port, '/', { auth: 'you:pass:word' })).status, 401);
  const home = await get(port, '/', { auth });
  t.is(home.body, 'home');
  t.is(home.headers['x-one'], '1');
  t.is(home.headers['access-control-allow-origin'], '*');
  t.is((await get(port, '/.env', { auth })).status, 404);
  t.is((await get(port, '/sub/', { auth })).status, 404);
  t.is((await get(port, '/some/page', { auth, headers: { accept: 'text/html' } })).body, 'home');
  t.is((await get(port, '/big', { auth })).body.length, 4 * 2 ** 20);
  t.is(await running.stop(), 0);
  const lines = running.out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  t.deepEqual(
    lines.map(({ status }) => status),
    [401, 401, 401, 200, 404, 404, 200, 200],
  );
  t.is(lines.at(-1)?.bytes, 4 * 2 ** 20);
  t.is(lines.at(-1)?.client, '127.0.0.1');
});

test('serve: a connection that is idle when it drains has its next request answered, and is closed then', async (t) => {
  const running = start(['serve', root, '-l', 'tcp://127.0.0.1:0', '--log', 'none']);
  const port = await portOf(running);
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  t.is((await get(port, '/', { agent })).headers.connection, 'keep-alive');
  const stopped = running.stop();
  await t.throwsAsync(get(port, '/'), { code: 'ECONNREFUSED' });
  const last = await get(port, '/', { agent });
  t.is(last.body, 'home');
  t.is(last.headers.connection, 'close');
  t.is(await stopped, 0);
  agent.destroy();
});

test('serve: a port that is taken is an error where it was asked for; a stale unix socket is not in the way', async (t) => {
  const running = start(['serve', root, '-l', 'tcp://127.0.0.1:0', '--log', 'none']);
  const port = await portOf(running);
  const second = await zerocopy(['serve', root, '-l', `tcp://127.0.0.1:${port}`]);
  t.is(second.status, 1);
  t.regex(second.err, /EADDRINUSE/);
  for (const [address, expected] of [
    ['fd:2000', /2000 is not a socket/],
    [`unix:${join(directory, 'nowhere/socket')}`, /'.*nowhere' does not exist/],
    [`unix:${join(root, 'index.html')}`, /EADDRINUSE/],
  ] as const) {
    const { status, err } = await zerocopy(['serve', root, '-l', address]);
    t.is(status, 1);
    t.regex(err, expected);
  }
  t.is(readFileSync(join(root, 'index.html'), 'utf8'), 'home');
  t.is(await running.stop(), 0);
  const path = join(directory, 'stale.sock');
  const worker = net.createServer().listen(path);
  await once(worker, 'listening');
  (worker as unknown as { _handle: { close(): void } })._handle.close(); // without unlink, as a process that was killed
  const over = start(['serve', root, '-l', `unix:${path}`, '--log', 'none']);
  await over.said(/unix:/);
  t.is((await get(0, '/', { socketPath: path } as http.RequestOptions)).body, 'home');
  t.is(await over.stop(), 0);
});

/** Answers with what it is called, then with all that comes, once that has ended. */
async function target(name: string): Promise<{ port: number; close(): void; header: Promise<string> }> {
  let first: (text: string) => void = () => {};
  const header = new Promise<string>((resolve) => {
    first = resolve;
  });
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    const chunks: Buffer[] = [];
    socket
      .on('error', () => {})
      .on('data', (chunk) => {
        chunks.push(chunk);
        first(chunk.toString('latin1'));
      });
    socket.on('end', () => socket.end(`${name}:${createHash('sha256').update(Buffer.concat(chunks)).digest('hex')}`));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: (server.address() as AddressInfo).port, close: () => server.close(), header };
}

/** Sends, ends, and reads to the end. */
async function exchange(port: number, bytes: string | Buffer): Promise<string> {
  const socket: Socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  socket.end(bytes);
  let text = '';
  for await (const chunk of socket) text += chunk;
  return text;
}

const sha = (bytes: string | Buffer): string => createHash('sha256').update(bytes).digest('hex');

test('proxy: bytes and half-closes pass, targets take turns, one that is down is passed over, and it is counted', async (t) => {
  const [one, two] = [await target('one'), await target('two')];
  const metrics = join(directory, 'metrics.sock');
  const args = ['proxy', 'tcp://127.0.0.1:0', `127.0.0.1:${one.port}`, `127.0.0.1:${two.port}`];
  const running = start([...args, '--admin', `unix:${metrics}`, '--health', '0']);
  const port = await portOf(running);
  const bytes = Buffer.alloc(3 * 2 ** 20, 'abc');
  t.deepEqual(
    new Set([await exchange(port, bytes), await exchange(port, bytes)]),
    new Set([`one:${sha(bytes)}`, `two:${sha(bytes)}`]),
  );
  one.close();
  t.is(await exchange(port, 'x'), `two:${sha('x')}`);
  t.is(await exchange(port, 'x'), `two:${sha('x')}`);
  const { body } = await get(0, '/metrics', { socketPath: metrics } as http.RequestOptions);
  t.true(body.includes(`connections_total{target="tcp://127.0.0.1:${two.port}"} 3\n`), body);
  t.true(body.includes(`bytes_total{target="tcp://127.0.0.1:${one.port}",direction="forward"} ${bytes.length}\n`));
  t.true(body.includes(`target_up{target="tcp://127.0.0.1:${one.port}"} 0\n`));
  t.is(await running.stop(), 0);
  t.regex(running.err, /4 connections: 6\.0 MiB in .* by /);
  two.close();
});

test('proxy: who is connected is learnt from a header in front, and told to the target', async (t) => {
  const v2 = Buffer.concat([
    Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1'),
    Buffer.of(0x21, 0x11, 0, 12, 10, 0, 0, 1, 10, 0, 0, 2, 0x30, 0x39, 0, 80),
  ]);
  const line = 'PROXY TCP4 10.0.0.1 10.0.0.2 12345 80\r\n';
  for (const header of [Buffer.from(line), v2]) {
    const behind = await target('behind');
    const args = ['proxy', 'tcp://127.0.0.1:0', `127.0.0.1:${behind.port}`, '--proxy-in', '--proxy-out', 'v1'];
    const running = start(args);
    const port = await portOf(running);
    t.is(await exchange(port, Buffer.concat([header, Buffer.from('body')])), `behind:${sha(`${line}body`)}`);
    t.true((await behind.header).startsWith(line));
    await t.throwsAsync(exchange(port, 'GET / HTTP/1.1\r\n\r\n'), { code: 'ECONNRESET' });
    t.is(await running.stop(), 0);
    behind.close();
  }
});

test('proxy: a target that cannot be reached ends the connection of its client, and nothing else', async (t) => {
  for (const listen of ['tcp://127.0.0.1:0', `unix:${join(directory, 'front.sock')}`]) {
    const running = start(['proxy', listen, `unix:${join(directory, 'nobody.sock')}`]);
    const where = listen.startsWith('unix')
      ? { path: listen.slice(5) }
      : { host: '127.0.0.1', port: await portOf(running) };
    await running.said(/ to unix:/);
    for (let n = 0; n < 2; n++) {
      const socket = net.connect({ ...where, allowHalfOpen: true });
      const codes = new Promise<string>((resolve) => {
        socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
        socket.on('end', () => resolve('end'));
      });
      socket.resume().write('something');
      t.true(['ECONNRESET', ...(listen.startsWith('unix') ? ['end', 'EPIPE'] : [])].includes(await codes));
      socket.destroy();
    }
    t.is(await running.stop(), 0);
  }
});

test('proxy: when it drains, a connection goes on until it ends', async (t) => {
  const behind = await target('behind');
  const running = start(['proxy', 'tcp://127.0.0.1:0', `127.0.0.1:${behind.port}`]);
  const port = await portOf(running);
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  socket.write('begin ');
  await behind.header;
  const stopped = running.stop();
  await t.throwsAsync(exchange(port, ''), { code: 'ECONNREFUSED' });
  t.is(await Promise.race([stopped, delay(50, 'still there')]), 'still there');
  socket.end('end');
  let text = '';
  for await (const chunk of socket) text += chunk;
  t.is(text, `behind:${sha('begin end')}`);
  t.is(await stopped, 0);
  behind.close();
});

withOpenssl(`serve: TLS, and a rate for each response${noOpenssl}`, async (t) => {
  const [cert, key] = [join(directory, 'cert.pem'), join(directory, 'key.pem')];
  const about = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-days', '1'];
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  spawnSync('openssl', ['req', '-x509', ...kind, ...about, '-keyout', key, '-out', cert]);
  const args = ['serve', root, '-l', 'tcp://127.0.0.1:0', '--log', 'none', '--limit-rate', '20M'];
  const running = start([...args, '--tls-cert', cert, '--tls-key', key]);
  await running.said(/https:/);
  const port = await portOf(running);
  const startedAt = performance.now();
  const request = https.get({
    port,
    host: '127.0.0.1',
    servername: 'localhost',
    path: '/big',
    ca: readFileSync(cert),
    agent: false,
  });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  let bytes = 0;
  for await (const chunk of response) bytes += (chunk as Buffer).length;
  t.is(bytes, 4 * 2 ** 20);
  // 4 MiB at 20 MiB a second: a fifth of a second, less what may go at once. Never sooner, however fast the machine is.
  t.true(performance.now() - startedAt > 100);
  await t.throwsAsync(get(port, '/'), { code: 'ECONNRESET' }, 'nothing is said without TLS');
  t.is(await running.stop(), 0);
});

/** What came, or the code of the error. */
const answerOrCode = (port: number, bytes: string): Promise<string> =>
  exchange(port, bytes).catch((error: NodeJS.ErrnoException) => error.code ?? '');

test('proxy: no more connections than --max-conn', async (t) => {
  const behind = await target('behind');
  const running = start(['proxy', 'tcp://127.0.0.1:0', `127.0.0.1:${behind.port}`, '--max-conn', '1']);
  const port = await portOf(running);
  const first = net.connect({ port, host: '127.0.0.1' });
  first.write('begin');
  await behind.header;
  t.true(['', 'ECONNRESET', 'EPIPE'].includes(await answerOrCode(port, 'x')), 'closed unheard');
  first.resume().end();
  await once(first, 'close');
  let answer = '';
  // The proxy may see later than the client that the connection is over.
  await until(async () => {
    answer = await answerOrCode(port, 'x');
    return answer.startsWith('behind:');
  });
  t.is(answer, `behind:${sha('x')}`, 'there is room again');
  t.is(await running.stop(), 0);
  behind.close();
});

test('proxy: none that idles for longer than --idle, and the metrics say so', async (t) => {
  const behind = await target('behind');
  const metrics = join(directory, 'limits.sock');
  const args = ['proxy', 'tcp://127.0.0.1:0', `127.0.0.1:${behind.port}`, '--admin', `unix:${metrics}`];
  const running = start([...args, '--idle', '100ms']);
  const port = await portOf(running);
  const first = net.connect({ port, host: '127.0.0.1' });
  const ended = once(first, 'error') as Promise<[NodeJS.ErrnoException]>;
  first.write('begin');
  t.is((await ended)[0].code, 'ECONNRESET');
  const reply = (path: string, options: http.RequestOptions = {}): Promise<Reply> =>
    get(0, path, { socketPath: metrics, ...options } as http.RequestOptions);
  let body = '';
  let headers: http.IncomingHttpHeaders = {};
  await until(async () => {
    ({ body, headers } = await reply('/metrics?all'));
    return body.includes('failures_total{');
  });
  t.regex(headers['content-type'] ?? '', /^text\/plain; version=0\.0\.4/);
  const failures = body.split('\n').filter((line) => /^zerocopy_proxy_failures_total\{.*\} 1$/.test(line));
  t.is(failures.length, 1, body);
  t.regex(body, /connections_total\{[^}]*\} 1\n/);
  for (const line of body.trim().split('\n')) t.regex(line, /^(# (HELP|TYPE) \w+ .+|\w+(\{.*\})? \d+)$/);
  t.is((await reply('/')).status, 404);
  t.is((await reply('/metrics', { method: 'POST' })).status, 405);
  t.is(await running.stop(), 0);
  behind.close();
});

test('what makes no sense is refused with status 2, before anything is done', async (t) => {
  for (const [args, message] of [
    [[], /usage/],
    [['srve'], /did you mean 'serve'/],
    [['serve', '--lisen', 'x'], /did you mean '--listen'/],
    [['serve', '--vresion'], /did you mean '--version'/],
    [['--verison'], /did you mean '--version'/],
    [['serve', '--listen=nowhere'], /expected tcp:/],
    [['serve', '--spa=yes'], /takes no value/],
    [['serve', '--auth', 'me:secret'], /sha256/],
    [['serve', '--header', 'no colon'], /Name: value/],
    [['serve', '--tls-cert', 'x'], /belong together/],
    [['serve', 'a', 'b'], /unexpected 'b'/],
    [['serve', '--header', 'X: a\r\nY: b'], /Name: value/],
    [['serve', '--header', 'Content-Length: 3'], /cannot be given/],
    [['serve', '--cors=a\nb'], /'cors'/],
    [['serve', '-l', `unix:${'a'.repeat(108)}`], /107 bytes/],
    [['serve', '--workers', '0'], /from 1 on/],
    [['proxy', ':0'], /expected LISTEN TARGET/],
    [['proxy', ':0', ':0'], /TARGET/],
    [['proxy', '127.0.0.1:1', 'localhost:1'], /listens itself/],
    [['proxy', ':1', '127.0.0.9:1', '--workers', '2'], /listens itself/],
    [['proxy', 'unix:a', 'unix:./a'], /listens itself/],
    [['tee', 'tcp://127.0.0.1:99999'], /DESTINATION/],
    [['proxy', ':0', 'fd:3'], /TARGET/],
    [['proxy', ':0', ':1', '--idle', 'soon'], /--idle/],
    [['cp', 'a'], /SOURCE/],
  ] as const) {
    const { status, err } = await zerocopy(args);
    t.is(status, 2, err);
    t.regex(err, message);
  }
});
