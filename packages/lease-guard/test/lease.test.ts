/** Leases; the ground that LTP's fcntl23 to 27 and 31 to 33 and xfstests' generic/571 cover. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, closeSync, copyFileSync, mkdtempSync, openSync, renameSync, rmSync, truncateSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { acquireLease, type Lease, type LeaseBreak, leaseProvider } from '@zerocopy/lease-guard';
import test from 'ava';
import {
  breakTime,
  elsewhere,
  fixture,
  leaseSerial,
  leaseTest,
  makeFile,
  openDescriptors,
  openForWriting,
  runProgram,
  temporaryDirectory,
  threads,
  until,
} from './harness.js';

const directory = temporaryDirectory();

/** The first break, and the lease released when `answer` says so. */
function firstBreak(lease: Lease): Promise<LeaseBreak> {
  return once(lease, 'break').then(([event]) => event as LeaseBreak);
}

leaseTest('a read lease: held, released, any number of times, by dispose as well', async (t) => {
  const path = makeFile(directory);
  const before = openDescriptors();
  const lease = await acquireLease(path, 'read');
  t.is(lease.state, 'held');
  t.is(lease.type, 'read');
  let releases = 0;
  lease.on('release', () => releases++);
  await lease.release();
  await lease.release();
  await lease[Symbol.asyncDispose]();
  t.is(lease.state, 'released');
  t.is(releases, 1);
  t.throws(() => lease.downgrade(), { message: /has been released/ });
  t.is((await openForWriting(path)).stdout.slice(0, 4), 'done');
  await until(() => openDescriptors() <= before + 4, 'descriptors closed');
});

for (const [name, code] of [
  ['open for writing', (path: string) => `fs.openSync(${path}, 'r+')`],
  ['truncate', (path: string) => `fs.truncateSync(${path}, 1)`],
] as const) {
  leaseTest(`broken by ${name}: the other process waits until the lease is released`, async (t) => {
    const path = makeFile(directory);
    const lease = await acquireLease(path, 'read');
    const order: string[] = [];
    const broken = firstBreak(lease);
    const other = elsewhere(code(JSON.stringify(path))).then((ended) => {
      order.push('other');
      return ended;
    });
    const event = await broken;
    t.is(event.downgradeTo, 'none');
    t.is(event.deadlineMs, breakTime);
    t.is(lease.state, 'breaking');
    await new Promise((resolve) => setTimeout(resolve, 100));
    order.push('release');
    await lease.release();
    t.regex((await other).stdout, /^done/);
    t.deepEqual(order, ['release', 'other']);
    t.is(lease.state, 'released');
  });
}

leaseTest('broken by an open with O_NONBLOCK: that fails, and the break goes on all the same', async (t) => {
  const path = makeFile(directory);
  const lease = await acquireLease(path, 'read');
  const broken = firstBreak(lease);
  const flags = 'fs.constants.O_RDWR | fs.constants.O_NONBLOCK';
  const { stdout } = await elsewhere(`fs.openSync(${JSON.stringify(path)}, ${flags})`);
  t.regex(stdout, /^EAGAIN/);
  t.is((await broken).downgradeTo, 'none');
  await lease.release();
});

leaseTest('reading, renaming and removing do not break a read lease (kernel-rules: lease-break)', async (t) => {
  const path = makeFile(directory);
  const lease = await acquireLease(path, 'read', { autoRelease: false });
  let breaks = 0;
  lease.on('break', () => breaks++);
  t.regex((await elsewhere(`fs.readFileSync(${JSON.stringify(path)})`)).stdout, /^done/);
  renameSync(path, `${path}-renamed`);
  t.regex((await elsewhere(`fs.unlinkSync(${JSON.stringify(`${path}-renamed`)})`)).stdout, /^done/);
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.is(breaks, 0);
  t.is(lease.state, 'held');
  await lease.release();
});

leaseTest('a write lease: a reader breaks it to a read lease, a writer all of it', async (t) => {
  const path = makeFile(directory);
  const lease = await acquireLease(path, 'write');
  t.is(lease.type, 'write');
  const toRead = firstBreak(lease);
  const reader = elsewhere(`fs.openSync(${JSON.stringify(path)}, 'r')`);
  t.is((await toRead).downgradeTo, 'read');
  lease.downgrade('read');
  t.is(lease.type, 'read');
  t.is(lease.state, 'held');
  t.regex((await reader).stdout, /^done/);

  const toNone = firstBreak(lease);
  const writer = openForWriting(path);
  t.is((await toNone).downgradeTo, 'none');
  await lease.release();
  t.regex((await writer).stdout, /^done/);
});

leaseTest('a downgrade is not enough for a writer: it says so, and the release is', async (t) => {
  const path = makeFile(directory);
  const lease = await acquireLease(path, 'write');
  const broken = firstBreak(lease);
  const writer = openForWriting(path);
  await broken;
  t.throws(() => lease.downgrade(), { code: 'EAGAIN' });
  await lease.release();
  t.regex((await writer).stdout, /^done/);
});

leaseTest('nobody listens: opening for writing in this very process takes no time, though it blocks', async (t) => {
  const path = makeFile(directory);
  const lease = await acquireLease(path, 'read');
  const startedAt = performance.now();
  closeSync(openSync(path, 'r+')); // blocks the event loop: only another thread can answer (kernel-rules: lease-self-deadlock)
  t.true(performance.now() - startedAt < 5000);
  t.is(lease.state, 'released');
  await once(lease, 'release');

  const truncated = await acquireLease(path, 'read');
  truncateSync(path, 1);
  t.is(truncated.state, 'released');
});

leaseTest('a listener that dawdles is overruled before the deadline', async (t) => {
  const path = makeFile(directory);
  const lease = await acquireLease(path, 'read', { releaseBeforeMs: breakTime - 500 });
  const broken = firstBreak(lease);
  const writer = openForWriting(path);
  t.is((await broken).deadlineMs, breakTime);
  await once(lease, 'release');
  t.is(lease.state, 'released');
  const { stdout } = await writer;
  t.regex(stdout, /^done/);
  t.true(Number(stdout.split(' ')[1]) >= 300, stdout);
});

leaseTest('autoRelease: false keeps it without a listener, until the deadline is near', async (t) => {
  const path = makeFile(directory);
  const lease = await acquireLease(path, 'read', { autoRelease: false, releaseBeforeMs: breakTime - 300 });
  const { stdout } = await openForWriting(path);
  t.regex(stdout, /^done/);
  t.true(Number(stdout.split(' ')[1]) >= 150, stdout);
  await until(() => lease.state === 'released', 'released');
});

leaseTest('a listener that goes away leaves nobody waiting', async (t) => {
  const path = makeFile(directory);
  const lease = await acquireLease(path, 'read');
  const listener = (): void => t.fail();
  lease.on('break', listener);
  lease.off('break', listener);
  t.regex((await openForWriting(path)).stdout, /^done/);
  await until(() => lease.state === 'released', 'released');
});

leaseTest('two leases on one file: both are asked, and both have to go', async (t) => {
  const path = makeFile(directory);
  const leases = await Promise.all([acquireLease(path, 'read'), acquireLease(path, 'read')]);
  const breaks = Promise.all(leases.map(firstBreak));
  let opened = false;
  const writer = openForWriting(path).then((ended) => {
    opened = true;
    return ended;
  });
  await breaks;
  await leases[0]?.release();
  await new Promise((resolve) => setTimeout(resolve, 200));
  t.false(opened);
  await leases[1]?.release();
  t.regex((await writer).stdout, /^done/);
});

leaseTest('a FIFO is not opened for a lease: its writer goes on waiting', async (t) => {
  const fifo = join(directory, 'fifo');
  execFileSync('mkfifo', [fifo]);
  const writer = spawn('sh', ['-c', 'echo written > "$0"', fifo]);
  await new Promise((resolve) => setTimeout(resolve, 100));
  await t.throwsAsync(acquireLease(fifo, 'read'), { code: 'EINVAL', message: /no regular file/ });
  t.is(execFileSync('cat', [fifo], { encoding: 'utf8', timeout: 10_000 }), 'written\n');
  if (writer.exitCode === null) await once(writer, 'exit');
});

leaseTest('a path as a Uint8Array, a URL and a signal of another make', async (t) => {
  const path = makeFile(directory);
  const { href, protocol, hostname, pathname, host, search, hash } = pathToFileURL(path);
  const foreign = { href, protocol, hostname, pathname, host, search, hash, username: '', password: '', port: '' };
  const signal = Object.assign(new EventTarget(), { aborted: false, reason: undefined });
  for (const name of [new TextEncoder().encode(path), foreign]) {
    const lease = await acquireLease(name as never, 'read', Object.create({ signal }));
    t.is(lease.state, 'held');
    await lease.release();
  }
  const lease = await acquireLease(path, 'read', { signal: signal as never });
  signal.aborted = true;
  signal.dispatchEvent(new Event('abort'));
  t.is(lease.state, 'released');
});

leaseTest('what cannot be leased says why, and what to do', async (t) => {
  const path = makeFile(directory);
  const writer = openSync(path, 'r+');
  await t.throwsAsync(acquireLease(path, 'read'), { code: 'EAGAIN', message: /open for writing.*try again/ });
  closeSync(writer);
  const reader = openSync(path, 'r');
  await t.throwsAsync(acquireLease(path, 'write'), { code: 'EAGAIN', message: /needs to be alone/ });
  closeSync(reader);
  await t.throwsAsync(acquireLease(directory, 'read'), { code: 'EINVAL', message: /no regular file/ });
  await t.throwsAsync(acquireLease(join(directory, 'missing'), 'read'), { code: 'ENOENT' });
  await t.throwsAsync(acquireLease(12_345, 'read'), { code: 'EBADF' });
  const own = await acquireLease(path, 'write');
  // Somebody's write lease is not waited for, but asked to go: it can be tried again.
  own.on('break', () => {});
  await t.throwsAsync(acquireLease(path, 'read'), { code: 'EAGAIN' });
  await own.release();

  for (const [args, message] of [
    [[{}, 'read'], /path, a FileHandle or a descriptor/],
    [[null, 'read'], /path, a FileHandle or a descriptor/],
    [[undefined, 'read'], /path, a FileHandle or a descriptor/],
    [[-1, 'read'], /path, a FileHandle or a descriptor/],
    [[path, 'both'], /'read' or 'write'/],
    [[path, 'read', { signal: 1 }], /'signal' must be an AbortSignal/],
    [[path, 'read', { autoRelease: 1 }], /'autoRelease' must be a boolean/],
    [[path, 'read', { releaseBeforeMs: -1 }], /'releaseBeforeMs' must be from 0/],
    [[path, 'read', { releaseBeforeMs: '1' }], /'releaseBeforeMs' must be a number/],
    [[path, 'read', null], /'options' must be an object/],
  ] as const) {
    await t.throwsAsync(acquireLease(...(args as unknown as Parameters<typeof acquireLease>)), { message });
  }
});

const isRoot = process.getuid?.() === 0;
(isRoot ? leaseTest : test.skip)("another user's file: EACCES (needs root, to be another user)", async (t) => {
  // A directory that the other user may enter, whatever the temporary one allows.
  const open = mkdtempSync(join(tmpdir(), 'zerocopy-lease-open-'));
  chmodSync(open, 0o755);
  const path = makeFile(open);
  chmodSync(path, 0o644);
  const { stdout } = await runProgram('setpriv', [
    '--reuid=65534',
    '--regid=65534',
    '--clear-groups',
    process.execPath,
    fixture('holder'),
    'refused',
    path,
  ]);
  rmSync(open, { recursive: true });
  t.regex(stdout, /^EACCES .*needs its owner, or CAP_LEASE/);
});

leaseTest('a file that is being executed can be read under a lease, and not be had alone', async (t) => {
  const program = join(directory, 'program');
  copyFileSync('/bin/sleep', program);
  const running = spawn(program, ['60']);
  await once(running, 'spawn');
  const lease = await acquireLease(program, 'read');
  await lease.release();
  await t.throwsAsync(acquireLease(program, 'write'), { code: 'EAGAIN' });
  running.kill();
  await once(running, 'exit');
});

leaseTest('on a FileHandle and a descriptor of the caller; closing the handle ends it', async (t) => {
  const path = makeFile(directory);
  const handle = await open(path);
  const lease = await acquireLease(handle, 'read');
  t.is(lease.fd, handle.fd);
  await lease.release();
  t.is((await handle.read(Buffer.alloc(3), 0, 3, 0)).bytesRead, 3, 'it stays open');
  const second = await acquireLease(handle, 'read');
  await handle.close();
  t.is(second.state, 'released');
  await second.release();

  const fd = openSync(path, 'r');
  const third = await leaseProvider.acquire(fd, path);
  const broken = firstBreak(third);
  const writer = openForWriting(path);
  await broken;
  await third.release();
  t.regex((await writer).stdout, /^done/);
  closeSync(fd);
});

leaseTest('a signal: before, and for the time of the lease', async (t) => {
  const path = makeFile(directory);
  await t.throwsAsync(acquireLease(path, 'read', { signal: AbortSignal.abort() }), {
    name: 'AbortError',
    code: 'ABORT_ERR',
  });
  const controller = new AbortController();
  const lease = await acquireLease(path, 'read', { signal: controller.signal });
  controller.abort();
  t.is(lease.state, 'released');
});

leaseTest(
  'a signal that comes while the lease is being taken: it is given back, and the promise rejects',
  async (t) => {
    const path = makeFile(directory);
    const controller = new AbortController();
    const taking = acquireLease(path, 'read', { signal: controller.signal });
    controller.abort(new Error('changed my mind'));
    await t.throwsAsync(taking, { name: 'AbortError', code: 'ABORT_ERR' });
    t.is((await openForWriting(path)).stdout.slice(0, 4), 'done');
  },
);

leaseTest('only to a read lease is a lease downgraded', async (t) => {
  const path = makeFile(directory);
  const lease = await acquireLease(path, 'write');
  t.throws(() => lease.downgrade('none' as never), { instanceOf: TypeError, message: /only be downgraded to 'read'/ });
  t.is(lease.type, 'write');
  await lease.release();
});

leaseTest('while the event loop is blocked, others get through', async (t) => {
  const path = makeFile(directory);
  const opened = `${path}-opened`;
  // The holder spins until the other process has opened the file, or gives up.
  const holder = spawn(process.execPath, [fixture('holder'), 'blocked', path, opened], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  holder.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const exit = once(holder, 'exit');
  await until(() => output.includes('held'), 'the lease held');
  const { stdout } = await elsewhere(
    `fs.openSync(${JSON.stringify(path)}, 'r+'); fs.writeFileSync(${JSON.stringify(opened)}, '')`,
  );
  t.regex(stdout, /^done/);
  await exit;
  t.is(output, 'held\nopened while blocked\nreleased\n');
});

leaseTest('a full queue of real-time signals: plain SIGIO is understood too (kernel-rules: lease-order)', async (t) => {
  const paths = [makeFile(directory), makeFile(directory), makeFile(directory)];
  const ended = await runProgram('prlimit', [
    '--sigpending=0',
    process.execPath,
    fixture('holder'),
    'overflow',
    ...paths,
  ]);
  t.is(ended.stdout.trim(), 'released released released', ended.stderr);
  t.is(ended.signal, null);
});

leaseTest(
  'a plain SIGIO does not say whose lease it is about: each break is told once, and no other lease goes',
  async (t) => {
    const paths = [makeFile(directory), makeFile(directory), makeFile(directory)];
    const ended = await runProgram('prlimit', [
      '--sigpending=0',
      process.execPath,
      fixture('holder'),
      'overflow-in-turn',
      ...paths,
    ]);
    t.deepEqual(ended.stdout.trim().split('\n'), [
      'breaking held held',
      'breaking breaking held', // the first is looked at again
      'told 1 1 0',
      'released released released, and no thread is left',
    ]);
    t.is(ended.signal, null, ended.stderr);
  },
);

leaseTest('a process with leases ends by itself, by process.exit, and with its worker terminated', async (t) => {
  const path = makeFile(directory);
  const natural = await runProgram(process.execPath, [fixture('holder'), 'natural-end', path]);
  t.like(natural, { status: 0, stdout: 'held\n', stderr: '' });
  const exit = await runProgram(process.execPath, [fixture('holder'), 'exit', path]);
  t.like(exit, { status: 3, stdout: 'held\n', stderr: '' });
  const terminate = await runProgram(process.execPath, [fixture('holder'), 'terminate', path]);
  t.like(terminate, { status: 0, stdout: 'opened\n' });
});

leaseTest('in a worker thread as well', async (t) => {
  const path = makeFile(directory);
  const worker = new Worker(
    `import(${JSON.stringify(import.meta.resolve('@zerocopy/lease-guard'))}).then(async ({ acquireLease }) => {
       const { parentPort } = require('node:worker_threads');
       const lease = await acquireLease(${JSON.stringify(path)}, 'read');
       lease.once('break', async () => { await lease.release(); parentPort.postMessage('broken'); });
       parentPort.postMessage('held');
       setInterval(() => {}, 1000); // a lease keeps no thread alive
     });`,
    { eval: true },
  );
  await once(worker, 'message');
  const broken = once(worker, 'message');
  t.regex((await openForWriting(path)).stdout, /^done/);
  t.is((await broken)[0], 'broken');
  await worker.terminate();
});

leaseTest('children have the signal mask that they would have had', async (t) => {
  const mask = (): string =>
    /SigBlk:\s*(\w+)/.exec(execFileSync('cat', ['/proc/self/status'], { encoding: 'utf8' }))?.[1] ?? '';
  const before = mask();
  const lease = await acquireLease(makeFile(directory), 'read');
  t.is(mask(), before);
  await lease.release();
});

leaseSerial('a thousand leases at once; then no thread and no descriptor is left', async (t) => {
  // Once before, for the threads that Node starts with the first asynchronous file operation, and keeps.
  await Promise.all(
    Array.from({ length: 8 }, () => acquireLease(makeFile(directory), 'read').then((one) => one.release())),
  );
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const [descriptors, before] = [openDescriptors(), threads()];
  const paths = Array.from({ length: 1000 }, () => makeFile(directory));
  const leases = await Promise.all(paths.map((path) => acquireLease(path, 'read')));
  t.true(leases.every(({ state }) => state === 'held'));
  t.true(threads() <= before + 8, 'one thread for all of them');
  // Every other one is broken, by this process, synchronously.
  for (let n = 0; n < paths.length; n += 2) closeSync(openSync(paths[n] as string, 'r+'));
  t.deepEqual(
    leases.map(({ state }) => state),
    leases.map((_, n) => (n % 2 === 0 ? 'released' : 'held')),
  );
  await Promise.all(leases.map((lease) => lease.release()));
  await until(() => openDescriptors() <= descriptors, 'descriptors closed');
  await until(() => threads() <= before, 'the thread ended');
});

leaseSerial('leases that come and go do not start a thread each: the next one stays twice as long', async (t) => {
  let starts = 0;
  const onWorker = (): void => {
    starts++;
  };
  process.on('worker', onWorker);
  const path = makeFile(directory);
  const begun = performance.now();
  for (let n = 0; n < 12; n++) {
    await (await acquireLease(path, 'read')).release();
    await new Promise((resolve) => setTimeout(resolve, 150)); // more than the first one waits
  }
  process.off('worker', onWorker);
  // The nth to have ended had stayed 100 ms * 2 ** (n - 1): however slow the machine, no more than these and the last fit.
  t.true(starts <= Math.log2((performance.now() - begun) / 100 + 1) + 1, `${starts} threads`);
});
