/** Nonsense, races, clients that go away, slow readers: serveFiles in a process of its own has to live with them. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdirSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import { abandon, Client } from './client.js';
import type { RunningServer } from './running.js';
import { SECRET, type TestSite } from './site.js';

/** What went wrong, in words; nothing: all was right. */
export type Findings = readonly string[];

const ALLOWED: ReadonlySet<number> = new Set([200, 204, 206, 301, 304, 400, 404, 405, 412, 416, 431]);

const piece = fc.oneof(
  fc.constantFrom('..', '.', '', '%2e%2e', '%2f', '%5c', '\\', '%00', '%', '%zz', '%c0%ae', '%252e', '%u002e', '~'),
  fc.constantFrom(
    '.env',
    'a.txt',
    'dir',
    'fifo',
    'outside.txt',
    'inside.txt',
    'thousand',
    'app.js',
    'empty',
    'etc',
    'passwd',
  ),
  fc.string({ maxLength: 12 }).map((text) => text.replace(/[^!-~]/g, '%')),
);
const target = fc.array(piece, { maxLength: 10 }).map((names) => `/${names.join('/')}`);
const value = fc.string({ maxLength: 60 }).map((text) => text.replace(/[^ -~]/g, '"'));
const range = fc
  .array(
    fc.tuple(
      fc.constantFrom('0', '1', '999', '1000', '-', '', 'x', '99999999999999999999'),
      fc.constantFrom('-', '', '--'),
    ),
    {
      maxLength: 50,
    },
  )
  .map((specs) => `bytes=${specs.map(([a, b]) => `${a}${b}`).join(',')}`);
const header = fc.oneof(
  range.map((text) => `Range: ${text}`),
  fc
    .tuple(
      fc.constantFrom(
        'Range',
        'If-Range',
        'If-Match',
        'If-None-Match',
        'If-Modified-Since',
        'Accept',
        'Accept-Encoding',
      ),
      value,
    )
    .map(([name, text]) => `${name}: ${text}`),
);
const request = fc.record({
  target,
  headers: fc.array(header, { maxLength: 4 }),
  method: fc.constantFrom('GET', 'GET', 'GET', 'HEAD', 'OPTIONS', 'POST', 'DELETE'),
});

/** @param cases requests, on connections that are kept alive. */
export async function fuzz(server: RunningServer, cases: number, seed: number): Promise<Findings> {
  const client = new Client(server.port, 'keep-alive');
  const findings: string[] = [];
  const lanes = 8;
  const generated = fc.sample(request, { numRuns: cases, seed });
  const clients = Array.from({ length: lanes }, () => new Client(server.port, 'keep-alive'));
  await Promise.all(
    clients.map(async (one, lane) => {
      for (let at = lane; at < generated.length && findings.length < 20; at += lanes) {
        const asked = generated[at] as (typeof generated)[number];
        try {
          const { status, body } = await one.ask(asked.target, asked);
          if (!ALLOWED.has(status)) findings.push(`${status} for ${JSON.stringify(asked)}`);
          if (body.includes(SECRET)) findings.push(`an escape by ${JSON.stringify(asked)}`);
        } catch (error) {
          findings.push(`${(error as Error).message} for ${JSON.stringify(asked)}`);
        }
      }
      one.close();
    }),
  );
  if (!server.alive) findings.push('the server has ended');
  else if ((await client.ask('/a.txt')).status !== 200) findings.push('it does not serve any more');
  client.close();
  return findings;
}

/**
 * A name that leads to something else all the time.
 * @param turns how often.
 * @param kept files that the server may keep open.
 */
export async function races(
  server: RunningServer,
  { root, base }: TestSite,
  turns: number,
  kept: number,
): Promise<Findings> {
  const path = join(root, 'race');
  const findings: string[] = [];
  const counts = new Map<number, number>();
  const becomes: readonly (() => void)[] = [
    () => writeFileSync(path, 'content'),
    () => {
      writeFileSync(`${path}.new`, 'replaced');
      renameSync(`${path}.new`, path);
    },
    () => truncateSync(path, 2),
    () => appendFileSync(path, 'and more'),
    () => symlinkSync(join(base, 'secret.txt'), path),
    () => mkdirSync(path),
    () => symlinkSync('a.txt', path),
    () => symlinkSync('fifo', path),
    () => {},
  ];
  const before = await settledDescriptors(server);
  let over = false;
  const asking = Array.from({ length: 4 }, async () => {
    const client = new Client(server.port, 'keep-alive');
    while (!over && findings.length < 20) {
      try {
        const { status, body } = await client.ask('/race');
        counts.set(status, (counts.get(status) ?? 0) + 1);
        if (![200, 301, 404].includes(status)) findings.push(`${status}`);
        if (body.includes(SECRET)) findings.push('an escape');
      } catch (error) {
        // A file that was cut after its head had gone out: the connection is destroyed, and must be.
        if (!/^closed before/.test((error as Error).message)) findings.push((error as Error).message);
      }
    }
    client.close();
  });
  for (let turn = 0; turn < turns; turn++) {
    const kind = turn % becomes.length;
    if (kind !== 1 && kind !== 2 && kind !== 3) rmSync(path, { recursive: true, force: true });
    becomes[kind]?.();
    if (kind === 4 && turn % 5 === 0) {
      rmSync(path, { force: true });
      execFileSync('mkfifo', [path]);
    }
    await new Promise(setImmediate);
  }
  over = true;
  await Promise.all(asking);
  rmSync(path, { recursive: true, force: true });
  await expectDescriptors(server, before + kept, findings);
  console.log(`  answers: ${[...counts].map(([status, count]) => `${count} × ${status}`).join(', ')}`);
  return findings;
}

/**
 * @param count downloads that are begun and given up.
 * @param kept files that the server may keep open.
 */
export async function aborts(server: RunningServer, count: number, kept: number): Promise<Findings> {
  const findings: string[] = [];
  const before = await settledDescriptors(server);
  const lanes = 16;
  await Promise.all(
    Array.from({ length: lanes }, async (_, lane) => {
      for (let n = lane; n < count; n += lanes) await abandon(server.port, '/big.bin', n);
    }),
  );
  await expectDescriptors(server, before + kept, findings);
  if (!server.alive) findings.push('the server has ended');
  return findings;
}

/** Readers that take a few bytes at a time; another client must not notice them. */
export async function slowReaders(server: RunningServer): Promise<Findings> {
  const findings: string[] = [];
  const sockets = Array.from({ length: 100 }, () => {
    const socket = net.connect(server.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write('GET /big.bin HTTP/1.1\r\nHost: localhost\r\n\r\n');
    socket.pause();
    return socket;
  });
  await delay(300);
  const client = new Client(server.port, 'keep-alive');
  for (let n = 0; n < 50; n++) if ((await client.ask('/a.txt')).status !== 200) findings.push('another client waits');
  client.close();
  const lengths = await Promise.all(
    sockets.map(async (socket) => {
      let length = 0;
      socket.on('data', (chunk: Buffer) => {
        length += chunk.length;
      });
      socket.resume();
      while (length < 4 * 1024 * 1024)
        if ((await Promise.race([once(socket, 'data'), delay(3000)])) === undefined) break;
      socket.destroy();
      return length;
    }),
  );
  if (lengths.some((length) => length < 4 * 1024 * 1024)) findings.push('a slow reader did not get everything');
  return findings;
}

/** Once nothing changes any more. */
async function settledDescriptors(server: RunningServer): Promise<number> {
  let before = await server.descriptors();
  for (let tries = 0; tries < 50; tries++) {
    await delay(50);
    const now = await server.descriptors();
    if (now === before) return now;
    before = now;
  }
  return before;
}

async function expectDescriptors(server: RunningServer, before: number, findings: string[]): Promise<void> {
  let now = await server.descriptors();
  for (let tries = 0; tries < 100 && now > before; tries++) {
    await delay(100);
    now = await server.descriptors();
  }
  if (now > before) findings.push(`${now - before} descriptors stay open`);
}
