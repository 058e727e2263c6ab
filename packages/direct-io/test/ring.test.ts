/** Reads by io_uring: the same bytes as by threads, whatever io_uring_enter answers, and nothing left behind. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { feature, libcStatus } from '@zerocopy/core-syscalls';
import { addressOf } from '@zerocopy/core-syscalls/native';
import { openDirect } from '@zerocopy/direct-io';
import { testsWhere } from '@zerocopy/testing/kernel-tests';
import { fixture, KiB, MiB, makeFile, pattern, runProgram, temporaryDirectory } from './harness.js';

const directory = temporaryDirectory();
const path = makeFile(directory, pattern(2 * MiB));
const method = await (async () => {
  await using file = await openDirect(path);
  return { available: file.method === 'direct', reason: file.fallbackReason };
})();
const { test: ringTest } = testsWhere('reads by io_uring', libcStatus(), feature('ioUring'), method);
const { test: directTest } = testsWhere('direct I/O in the temporary directory', libcStatus(), method);

/** What the fixture prints. */
async function run(env: NodeJS.ProcessEnv, status = 0): Promise<Readonly<Record<string, unknown>>> {
  const program = await runProgram(process.execPath, [fixture('ring'), path], { ...process.env, ...env });
  if (program.stderr !== '' || program.status !== status) {
    throw new Error(`status ${program.status}, signal ${program.signal}: ${program.stderr}`);
  }
  return JSON.parse(program.stdout) as Readonly<Record<string, unknown>>;
}

/** Memory that is read into directly, and not by way of memory of the package. */
function alignedTarget(length: number): Buffer {
  const memory = Buffer.alloc(length + 4096);
  const over = addressOf(memory) % 4096;
  return memory.subarray(over === 0 ? 0 : 4096 - over).subarray(0, length);
}

ringTest('more at once than it has slots, of two files: the same bytes, and both descriptors are closed', async (t) => {
  t.like(await run({}), { readsBy: 'io_uring', afterwards: 'io_uring', equal: true, calls: true, during: 2, left: 0 });
});

for (const fault of ['EAGAIN', 'sometimes', 'short'] as const) {
  ringTest(
    `io_uring_enter that does not take all (${fault}): threads do the rest (kernel-rules: ring-taken-back)`,
    async (t) => {
      t.like(await run({ FAULT: fault }), { afterwards: 'io_uring', equal: true, calls: true, left: 0 });
    },
  );
}

ringTest('io_uring_enter that is forbidden later: threads from then on, and it says so', async (t) => {
  t.like(await run({ FAULT: 'EPERM' }), { readsBy: 'io_uring', afterwards: 'threads', equal: true, left: 0 });
});

directTest('turned off, threads read the same', async (t) => {
  const told = await run({ ZEROCOPY_DISABLE: 'ioUring' });
  t.like(told, { readsBy: 'threads', afterwards: 'threads', equal: true, calls: false, during: 0, left: 0 });
});

ringTest('process.exit with requests under way', async (t) => {
  t.like(await run({ END: 'exit' }, 7), { readsBy: 'io_uring', equal: true });
});

ringTest('a process lives until its requests have ended, and no longer, however many files are open', async (t) => {
  t.like(await run({ END: 'natural' }), { readsBy: 'io_uring', equal: true, settled: 200 });
});

directTest(
  'a worker thread, which may be terminated at any time, has no ring (kernel-rules: ring-memory)',
  async (t) => {
    const worker = new Worker(fixture('ring-worker'), { workerData: { path } });
    const exited = once(worker, 'exit'); // on a busy machine it follows the message at once
    const [told] = (await once(worker, 'message')) as [{ readsBy: string; bytes: Uint8Array }];
    await exited;
    t.is(told.readsBy, 'threads');
    t.true(readFileSync(path).subarray(1, 10_001).equals(told.bytes));
  },
);

directTest('a larger request than the ring takes, and one behind the end', async (t) => {
  const large = makeFile(directory, pattern(3 * MiB + 5));
  await using file = await openDirect(large);
  const [all, some, none] = await Promise.all([
    file.read(0, 4 * MiB),
    file.read(3 * MiB - 100, 64 * KiB),
    file.read(4 * MiB, 10),
  ]);
  const content = readFileSync(large);
  t.true(all.equals(content));
  t.true(some.equals(content.subarray(3 * MiB - 100)));
  t.is(none.length, 0);
});

directTest('memory that is transferred before the request is made is an error, and no other bytes', async (t) => {
  await using file = await openDirect(path);
  const targets = Array.from({ length: 20 }, () => alignedTarget(64 * KiB));
  const reads = targets.map((target, n) => file.readInto(n * 64 * KiB, target));
  const moved = targets.map(({ buffer }) => structuredClone(buffer, { transfer: [buffer as ArrayBuffer] }));
  for (const { status, reason } of (await Promise.allSettled(reads)) as PromiseRejectedResult[]) {
    t.is(status, 'rejected');
    t.is((reason as NodeJS.ErrnoException).code, 'ERR_INVALID_STATE');
  }
  t.true(moved.every((memory) => Buffer.from(memory).every((byte) => byte === 0)));
  t.true((await file.read(0, 64 * KiB)).equals(readFileSync(path).subarray(0, 64 * KiB)));
});
