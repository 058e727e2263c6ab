/** Other processes: ends in the middle, a full disk, a user without pipe pages, features turned off, worker threads. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { feature } from '@zerocopy/core-syscalls';
import { descriptorTargets } from '@zerocopy/testing/holdings';
import test from 'ava';
import { fixture, kernelTest, MiB, teeFallback, temporaryDirectory } from './harness.js';

const run = promisify(execFile);
const directory = temporaryDirectory();

for (const how of ['terminate', 'worker-exit', 'main-exit']) {
  kernelTest(`cut off in the middle of everything (${how}), the process ends normally`, async (t) => {
    // execFile rejects on any signal or status but 0
    const { stdout, stderr } = await run(process.execPath, [fixture('busy'), how, join(directory, how)]);
    t.is(stderr, '');
    if (how !== 'main-exit') t.is(stdout.trim(), 'alive');
  });
}

kernelTest('unref() and ref() of a socket hold for whatever waits in its place', async (t) => {
  const { stdout } = await run(process.execPath, [fixture('unreferenced')], { timeout: 30_000 });
  t.is(stdout, 'they kept it alive, and no longer do\n');
});

kernelTest('a full disk: the error of fs.createWriteStream, and the bytes that are in the file', async (t) => {
  const limit = 600 * 1024; // of 4 MiB; sh counts in blocks of 512 bytes
  const command = `ulimit -f ${limit / 512}; exec "$0" "$@"`;
  const { stdout } = await run('sh', [
    '-c',
    command,
    process.execPath,
    fixture('disk-full'),
    directory,
    String(4 * MiB),
  ]);
  const { ours, node, promised } = JSON.parse(stdout) as Record<string, { code: string; bytes: number; size: number }>;
  t.is(ours?.code, 'EFBIG');
  t.deepEqual(ours, node);
  t.deepEqual(promised, { code: 'EFBIG', bytes: limit, size: limit });
});

const isRoot = process.getuid?.() === 0;
kernelTest('without pipe pages left, a normal user goes on with small pipes (kernel-rules: pipe-quota)', async (t) => {
  // Root is not limited; the directory is one that another user may enter.
  const open = mkdtempSync(join(tmpdir(), 'zerocopy-quota-'));
  try {
    chmodSync(open, 0o777);
    const command = [process.execPath, fixture('quota'), join(open, 'socket'), String(4 * MiB)];
    const dropping = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', ...command];
    const [program = '', ...args] = isRoot ? dropping : command;
    const { stdout } = await run(program, args);
    const told = JSON.parse(stdout) as Record<string, unknown>;
    t.not(told.uid, 0);
    t.true((told.capacity as number) < 64 * 1024, 'the quota is used up');
    t.like(told, { bytes: 4 * MiB, received: 4 * MiB, method: 'splice', small: 1 });
  } finally {
    rmSync(open, { recursive: true, force: true });
  }
});

const PROGRAM = `
  const { once } = require('node:events');
  const net = require('node:net');
  const fs = require('node:fs');
  const { pipeline } = require('node:stream/promises');
  async function main({ splice, proxy, tee, createSpliceReadStream, createSpliceWriteStream, pipePoolStats }, path) {
    const echo = net.createServer((socket) => socket.pipe(socket)).listen(0, '127.0.0.1');
    await once(echo, 'listening');
    const upstream = () => net.connect(echo.address().port, '127.0.0.1');
    const content = Buffer.alloc(1_000_000, 'content ');
    const told = {};
    const through = async (join) => {
      const server = net.createServer({ allowHalfOpen: true }, (socket) => join(socket)).listen(0, '127.0.0.1');
      await once(server, 'listening');
      const client = net.connect({ port: server.address().port, host: '127.0.0.1', allowHalfOpen: true });
      client.end(content);
      const chunks = [];
      for await (const chunk of client) chunks.push(chunk);
      server.close();
      return Buffer.concat(chunks).equals(content);
    };
    let done;
    told.proxied = await through((socket) => { done = proxy(socket, upstream()); });
    told.proxy = (await done).forward.method;
    told.toFile = await through(async (socket) => {
      const file = createSpliceWriteStream(path);
      await pipeline(socket, file);
      told.written = fs.readFileSync(path).equals(content);
      told.writeStream = [file.method, file.fallbackReason];
      socket.end(content);
    });
    told.read = await through((socket) => {
      const source = createSpliceReadStream(socket);
      pipeline(source, socket).then(() => { told.readStream = source.method; });
    });
    told.teed = await through(async (socket) => {
      const file = await fs.promises.open(path, 'w');
      const result = await tee(socket, [socket, file]);
      told.tee = [result.method, result.fallbackReason];
      await file.close();
      told.recorded = fs.readFileSync(path).equals(content);
      socket.end();
    });
    echo.close();
    told.inUse = pipePoolStats().inUse;
    return told;
  }
`;

const module = import.meta.resolve('@zerocopy/splice-pipe');

test('ZEROCOPY_DISABLE turns it off, whole or by name: the same bytes, copied, with the reason', async (t) => {
  for (const value of ['all', 'splice']) {
    const code = `${PROGRAM} import('${module}').then((all) => main(all, ${JSON.stringify(join(directory, `off-${value}`))})).then((told) => console.log(JSON.stringify(told)))`;
    const { stdout } = await run(process.execPath, ['-e', code], { env: { ...process.env, ZEROCOPY_DISABLE: value } });
    const off = 'disabled by ZEROCOPY_DISABLE';
    t.deepEqual(JSON.parse(stdout), {
      proxied: true,
      proxy: 'copy',
      toFile: true,
      written: true,
      writeStream: ['copy', off],
      read: true,
      readStream: 'copy',
      teed: true,
      tee: ['copy', value === 'all' ? off : teeFallback(off)],
      recorded: true,
      inUse: 0,
    });
  }
});

test('on another platform a descriptor of the caller is used, and left open', async (t) => {
  const code = `
    Object.defineProperty(process, 'platform', { value: 'darwin' });
    import('${module}').then(async ({ splice, tee }) => {
      const fs = require('node:fs');
      const { once } = require('node:events');
      const net = require('node:net');
      const path = ${JSON.stringify(join(directory, 'elsewhere'))};
      const server = net.createServer((socket) => socket.end('content')).listen(0, '127.0.0.1');
      await once(server, 'listening');
      const connected = () => net.connect(server.address().port, '127.0.0.1');
      const fd = fs.openSync(path, 'w');
      await splice(connected(), fd);
      const file = await fs.promises.open(path + '-2', 'w');
      await tee(connected(), [file]);
      const from = fs.openSync(path, 'r');
      await splice(from, fd);
      server.close();
      const sizes = [fs.fstatSync(fd).size, (await file.stat()).size, fs.fstatSync(from).size];
      await file.close();
      console.log(sizes.join());
    });`;
  const { stdout } = await run(process.execPath, ['-e', code]);
  t.is(stdout, '14,7,14\n');
});

kernelTest('in a worker thread as on the main one', async (t) => {
  const code = `${PROGRAM} import('${module}').then((all) => main(all, require('node:worker_threads').workerData)).then((told) => require('node:worker_threads').parentPort.postMessage(told))`;
  const worker = new Worker(code, { eval: true, workerData: join(directory, 'worker') });
  const told = await new Promise((resolve, reject) => {
    worker.once('message', resolve).once('error', reject);
  });
  t.like(told as object, {
    proxied: true,
    toFile: true,
    written: true,
    writeStream: { 0: 'splice' },
    read: true,
    readStream: 'splice',
    teed: true,
    tee: { 0: feature('tee').available ? 'splice' : 'copy' },
    recorded: true,
    inUse: 0,
  });
});

for (const by of ['createSpliceWriteStream', 'receiveFile']) {
  kernelTest(
    `a worker that is terminated as ${by} closes its file leaves none open (kernel-rules: worker-close-cancelled)`,
    async (t) => {
      const path = join(directory, `closed-by-worker-${by}`);
      // The thread pool is busy when the file is to be closed: Node cancels what waits for it.
      const code = `
    const { parentPort, workerData } = require('node:worker_threads');
    const { pbkdf2 } = require('node:crypto');
    const fs = require('node:fs');
    const net = require('node:net');
    import('${module}').then(({ createSpliceWriteStream, receiveFile }) => {
      const busy = () => {
        for (let n = 0; n < 8; n++) pbkdf2('word', 'salt', 100_000, 64, 'sha512', () => {});
        parentPort.postMessage('closing');
      };
      const look = () => {
        const { size } = fs.statSync(workerData, { throwIfNoEntry: false }) ?? {};
        if (size === 300_000) busy();
        else setImmediate(look);
      };
      const server = net.createServer((socket) => {
        look();
        if ('${by}' === 'receiveFile') receiveFile(socket, workerData);
        else socket.pipe(createSpliceWriteStream(workerData));
      });
      server.listen(0, '127.0.0.1', () => net.connect(server.address().port, '127.0.0.1').end(Buffer.alloc(300_000)));
    });`;
      const worker = new Worker(code, { eval: true, workerData: path });
      const exited = once(worker, 'exit');
      await once(worker, 'message');
      await worker.terminate();
      await exited;
      t.false([...descriptorTargets().values()].includes(path));
    },
  );
}

kernelTest(
  "a pipe that is given up in a worker is not closed again when the worker ends: its numbers are others' by then",
  async (t) => {
    // Its capacity cannot be asked: fcntl answers as for no descriptor.
    const code = `
    const { parentPort } = require('node:worker_threads');
    const { once } = require('node:events');
    const net = require('node:net');
    (async () => {
      const { wrapBindings } = await import('${import.meta.resolve('@zerocopy/core-syscalls/native')}');
      const { constants, feature } = await import('${import.meta.resolve('@zerocopy/core-syscalls')}');
      const failing = [];
      wrapBindings((native, prototype) =>
        prototype.includes(' fcntl(')
          ? Object.assign((fd, operation, value) => native(failing.includes(operation) ? -1 : fd, operation, value), native)
          : native,
      );
      feature('splice'); // which asks for a capacity, too
      failing.push(constants.F_SETPIPE_SZ, constants.F_GETPIPE_SZ);
      const { splice, pipePoolStats } = await import('${module}');
      const server = net.createServer().listen(0, '127.0.0.1');
      await once(server, 'listening');
      const connect = async () => {
        const client = net.connect(server.address().port, '127.0.0.1');
        const [accepted] = await once(server, 'connection');
        return { client, accepted };
      };
      const [from, to] = [await connect(), await connect()];
      to.client.resume();
      from.client.end(Buffer.alloc(1_000_000));
      const { bytes, method } = await splice(from.accepted, to.accepted);
      parentPort.postMessage({ bytes, method, refused: pipePoolStats().refused > 0 });
      setInterval(() => {}, 1000);
    })();
  `;
    const worker = new Worker(code, { eval: true });
    const told = await new Promise((resolve, reject) => {
      worker.once('message', resolve).once('error', reject);
    });
    t.deepEqual(told, { bytes: 1_000_000, method: 'copy', refused: true });
    const opened = Array.from({ length: 16 }, () => openSync('/dev/null', 'r'));
    await worker.terminate();
    for (const fd of opened) t.notThrows(() => closeSync(fd), `${fd} was closed by the worker`);
  },
);

kernelTest(
  'a user over the quota gets pipes of a page, or less than was asked for: every byte all the same (kernel-rules: pipe-quota)',
  async (t) => {
    // What the kernel does for a normal user who has too many pages in pipes, whoever runs this.
    const code = `
    const { parentPort, workerData } = require('node:worker_threads');
    const { once } = require('node:events');
    const fs = require('node:fs');
    const net = require('node:net');
    process.getuid = () => 65534;
    if (workerData === 'unknown limits') {
      const { openSync } = fs;
      fs.openSync = (path, ...more) => {
        if (String(path).startsWith('/proc/sys/fs/pipe')) throw Object.assign(new Error('ENOENT'), { code: 'ENOENT' });
        return openSync(path, ...more);
      };
      require('node:module').syncBuiltinESMExports();
    }
    (async () => {
      const { wrapBindings } = await import('${import.meta.resolve('@zerocopy/core-syscalls/native')}');
      const { constants, feature, syscalls } = await import('${import.meta.resolve('@zerocopy/core-syscalls')}');
      let refusing = false;
      wrapBindings((native, prototype) => {
        if (prototype.includes(' pipe2(')) {
          return Object.assign((fds, flags) => {
            const result = native(fds, flags);
            if (refusing) {
              refusing = false;
              syscalls.fcntl(fds[1], constants.F_SETPIPE_SZ, 4096);
              refusing = true;
            }
            return result;
          }, native);
        }
        if (!prototype.includes(' fcntl(')) return native;
        return Object.assign((fd, operation, value) => {
          if (operation === constants.F_SETPIPE_SZ && refusing) value = -1; // EINVAL, as much a refusal as EPERM
          return native(fd, operation, value);
        }, native);
      });
      feature('splice');
      const { splice, pipePoolStats } = await import('${module}');
      refusing = workerData === 'over the quota';
      const server = net.createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
      await once(server, 'listening');
      const connect = async () => {
        const client = net.connect({ port: server.address().port, host: '127.0.0.1', allowHalfOpen: true });
        const [accepted] = await once(server, 'connection');
        return { client, accepted };
      };
      const [from, to] = [await connect(), await connect()];
      let received = 0;
      to.client.on('data', (chunk) => { received += chunk.length; });
      from.client.end(Buffer.alloc(1_000_000));
      const { bytes, method } = await splice(from.accepted, to.accepted);
      to.accepted.end();
      await once(to.client, 'end');
      const { small, capacity } = pipePoolStats();
      parentPort.postMessage({ bytes, received, method, small, capacity });
      server.close();
      for (const one of [from, to]) for (const socket of [one.client, one.accepted]) socket.destroy();
    })();
  `;
    for (const [how, expected] of [
      ['over the quota', { small: 1, capacity: 4096 }],
      // Nothing is asked for beyond what every pipe has.
      ['unknown limits', { small: 0, capacity: 65_536 }],
    ] as const) {
      const worker = new Worker(code, { eval: true, workerData: how });
      const told = await new Promise((resolve, reject) => {
        worker.once('message', resolve).once('error', reject);
      });
      await worker.terminate();
      t.deepEqual(told, { bytes: 1_000_000, received: 1_000_000, method: 'splice', ...expected }, how);
    }
  },
);
