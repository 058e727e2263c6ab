/** What signals and the end of others do to `zerocopy`, each in a process of its own. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from 'node:fs';
import http, { type IncomingMessage } from 'node:http';
import net, { type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { freePort } from '@zerocopy/testing/sockets';
import { until } from '@zerocopy/testing/waiting';
import test from 'ava';
import { program, temporary } from './harness.js';

const directory = temporary(test);

interface Started {
  readonly child: ChildProcess;
  readonly err: () => string;
  readonly closed: Promise<[status: number | null, signal: string | null]>;
}

function started(
  args: readonly string[],
  node: readonly string[] = [],
  out: number | 'ignore' | 'pipe' = 'ignore',
): Started {
  const child = spawn(process.execPath, [...node, program, ...args], { stdio: ['ignore', out, 'pipe'] });
  let text = '';
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  return { child, err: () => text, closed: once(child, 'close') as Started['closed'] };
}

/** Where it says that it listens. */
async function portOf({ err, closed }: Started): Promise<number> {
  let ended = false;
  void closed.then(() => {
    ended = true;
  });
  await until(() => ended || /127\.0\.0\.1:\d+/.test(err()));
  return Number(/127\.0\.0\.1:(\d+)/.exec(err())?.[1] ?? Number.NaN);
}

for (const [signals, statuses] of [
  [['SIGTERM'], [143]],
  [['SIGINT'], [130]],
  [['SIGHUP'], [129]],
  // The second ends it at once; which of the two is seen first is up to the kernel.
  [
    ['SIGTERM', 'SIGINT'],
    [130, 143],
  ],
] as const) {
  test(`cp: ${signals.join(' and ')} leaves the destination as it was, and nothing beside it`, async (t) => {
    const root = join(directory, signals.join('-'));
    const to = join(root, 'to');
    mkdirSync(to, { recursive: true });
    writeFileSync(join(root, 'big'), Buffer.alloc(8 * 2 ** 20, 'x'));
    writeFileSync(join(to, 'big'), 'old');
    const { child, closed, err } = started(['cp', '--rate', '100K', join(root, 'big'), to]);
    await until(() => readdirSync(to).length > 1);
    for (const signal of signals) child.kill(signal);
    const [status] = await closed;
    t.true((statuses as readonly (number | null)[]).includes(status), `${status}: ${err()}`);
    t.deepEqual(readdirSync(to), ['big']);
    t.is(readFileSync(join(to, 'big'), 'utf8'), 'old');
  });
}

test('a standard output that cannot be written to is told, and is a failure, but of a server that only logs', async (t) => {
  const full = openSync('/dev/full', 'w');
  for (const args of [['cp', '--help'], ['probe']]) {
    const { status, stderr } = spawnSync(process.execPath, [program, ...args], {
      stdio: ['ignore', full, 'pipe'],
      encoding: 'utf8',
    });
    t.is(status, 1);
    t.regex(stderr, /^zerocopy: standard output: ENOSPC.*\n$/);
  }
  const running = started(['serve', directory, '-l', 'tcp://127.0.0.1:0'], [], full);
  const port = await portOf(running);
  for (let n = 0; n < 2; n++) {
    const request = http.get({ host: '127.0.0.1', port, path: '/none', agent: false });
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    t.is(response.statusCode, 404);
    response.resume();
  }
  await until(() => running.err().includes('ENOSPC'));
  running.child.kill('SIGTERM');
  t.is((await running.closed)[0], 1);
  closeSync(full);
});

test('serve: a log that nobody reads costs neither memory without end nor an answer, and is not waited for', async (t) => {
  const running = started(['serve', directory, '-l', 'tcp://127.0.0.1:0'], [], 'pipe');
  const port = await portOf(running);
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  for (let n = 0; n < 250; n++) {
    const request = http.get({ host: '127.0.0.1', port, path: `/${'x'.repeat(200)}/?${'y'.repeat(8000)}`, agent });
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    t.is(response.statusCode, 404);
    await once(response.resume(), 'end');
  }
  agent.destroy();
  t.regex(running.err(), /lines of the log are dropped/);
  const exited = once(running.child, 'exit');
  running.child.kill('SIGTERM');
  t.deepEqual(await exited, [0, null]);
  running.child.stdout?.destroy();
});

test('serve: a connection that cannot be accepted does not end it', async (t) => {
  const preload = join(directory, 'emfile.cjs');
  // As where there are no descriptors left, and libuv has given up the one that it keeps for that.
  writeFileSync(
    preload,
    `const net = require('node:net');
const { listen } = net.Server.prototype;
net.Server.prototype.listen = function (...args) {
  this.once('listening', () => setTimeout(() => {
    for (let n = 0; n < 3; n++) this.emit('error', Object.assign(new Error('accept EMFILE'), { code: 'EMFILE', syscall: 'accept' }));
  }));
  return listen.apply(this, args);
};
`,
  );
  writeFileSync(join(directory, 'a.txt'), 'text');
  const running = started(['serve', directory, '-l', 'tcp://127.0.0.1:0', '--log', 'none'], ['-r', preload]);
  const port = await portOf(running);
  await until(() => running.err().includes('not accepted'));
  const [response] = (await once(http.get({ host: '127.0.0.1', port, path: '/a.txt', agent: false }), 'response')) as [
    IncomingMessage,
  ];
  t.is(response.statusCode, 200);
  response.resume();
  running.child.kill('SIGTERM');
  t.deepEqual(await running.closed, [0, null]);
  t.is(running.err().match(/accept EMFILE/g)?.length, 1, 'told once in a while');
});

test('proxy: the status of several workers says whether a connection was cut off', async (t) => {
  const behind = net.createServer((socket) => socket.on('error', () => {}).resume());
  behind.listen(0, '127.0.0.1');
  await once(behind, 'listening');
  const target = `127.0.0.1:${(behind.address() as AddressInfo).port}`;
  for (const [open, expected] of [
    [true, 1],
    [false, 0],
  ] as const) {
    const args = ['proxy', 'tcp://127.0.0.1:0', target, '--workers', '2', '--drain', '200ms'];
    const running = started(args);
    const port = await portOf(running);
    const socket = net.connect({ port, host: '127.0.0.1' }).on('error', () => {});
    const accepted = once(behind, 'connection');
    await accepted;
    if (!open) {
      socket.end().resume();
      await once(socket, 'close');
    }
    running.child.kill('SIGTERM');
    t.deepEqual(await running.closed, [expected, null], running.err());
    socket.destroy();
  }
  behind.close();
});

/** The processes that `parent` has started, and that have not ended. */
function childrenOf(parent: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
        const [state, ppid] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
        return Number(ppid) === parent && state !== 'Z';
      } catch {
        return false; // it has ended meanwhile
      }
    })
    .map(Number);
}

/** Which of `pids` has accepted the connection from this local port to `port`. */
function accepterOf(port: number, from: number, pids: readonly number[]): number | undefined {
  const hex = (number: number): string => number.toString(16).toUpperCase().padStart(4, '0');
  const lines = readFileSync('/proc/net/tcp', 'utf8').split('\n').slice(1);
  const fields = lines.map((line) => line.trim().split(/\s+/));
  const seen = fields.find(([, to, peer]) => to?.endsWith(`:${hex(port)}`) && peer?.endsWith(`:${hex(from)}`));
  if (seen === undefined) return undefined;
  return pids.find((pid) =>
    readdirSync(`/proc/${pid}/fd`).some((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`) === `socket:[${seen[9]}]`;
      } catch {
        return false; // closed meanwhile
      }
    }),
  );
}

const [workersTest, noList] = existsSync('/proc/net/tcp') ? [test, ''] : [test.skip, ' (needs /proc/net/tcp)'];

workersTest(`serve: a worker that dies is replaced; the end does not wait for one that is due${noList}`, async (t) => {
  // Not port 0: it is another one for who listens when nobody does any more.
  const port = await freePort();
  const running = started(['serve', directory, '-l', `tcp://127.0.0.1:${port}`, '--log', 'none', '--workers', '2']);
  const primary = running.child.pid as number;
  /** Ends a worker that has accepted a connection, and so has said that it listens. @returns its number. */
  const kill = async (): Promise<number> => {
    await until(() => childrenOf(primary).length === 2);
    let socket: Socket | undefined;
    await until(async () => {
      const tried = net.connect({ port, host: '127.0.0.1' });
      const connected = await once(tried, 'connect').catch(() => undefined); // the other one may not listen yet
      if (connected !== undefined) socket = tried.on('error', () => {});
      return socket !== undefined;
    }, 'a worker that listens');
    const { localPort } = socket as Socket;
    let victim: number | undefined;
    await until(() => {
      victim = accepterOf(port, localPort as number, childrenOf(primary));
      return victim !== undefined;
    });
    process.kill(victim as number, 'SIGKILL');
    await until(() => running.err().includes(`worker ${victim} ended (SIGKILL)`));
    socket?.destroy();
    return victim as number;
  };
  const victim = await kill();
  await until(() => childrenOf(primary).length === 2);
  t.false(childrenOf(primary).includes(victim));
  await kill();
  running.child.kill('SIGTERM');
  t.deepEqual(await running.closed, [0, null], running.err());
  t.deepEqual(childrenOf(primary), []);
});
