/** Buffers shared between threads and processes. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, ftruncateSync, openSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { mappingStats, type SharedBuffer, type SharedBufferHandle, SharedBufferPool } from '@zerocopy/mmap-buffer';
import test from 'ava';
import { collectGarbage, fixture, makeFile, openDescriptors, poolTest, temporaryDirectory, until } from './harness.js';

const directory = temporaryDirectory();
const acquired = (pool: SharedBufferPool): SharedBuffer => {
  const buffer = pool.acquire();
  if (buffer === undefined) throw new Error('no buffer is free');
  return buffer;
};

/** A child that opens the pool on descriptor 3, and obeys messages. */
function holder(pool: SharedBufferPool): ReturnType<typeof spawn> {
  return spawn(process.execPath, [fixture('pool-holder')], { stdio: ['ignore', 'inherit', 'inherit', pool.fd, 'ipc'] });
}

async function ask(child: ReturnType<typeof spawn>, message: object): Promise<Record<string, unknown>> {
  child.send(message);
  const [answer] = (await once(child, 'message')) as [Record<string, unknown>];
  return answer;
}

poolTest('acquired until there are none, released, and acquired again', (t) => {
  using pool = new SharedBufferPool({ bufferSize: 5000, count: 3 });
  t.deepEqual([pool.bufferSize, pool.count, pool.available], [5000, 3, 3]);
  const held = [acquired(pool), acquired(pool), acquired(pool)];
  t.is(pool.acquire(), undefined);
  t.is(pool.available, 0);
  held.forEach(({ buffer }, index) => {
    t.is(buffer.length, 5000);
    buffer.fill(index + 1);
  });
  t.true(
    held.every(({ buffer }, index) => buffer.equals(Buffer.alloc(5000, index + 1))),
    'each has its own memory',
  );
  held[1]?.release();
  held[1]?.release(); // once is enough, and twice is not two
  pool.release(held[2] as SharedBuffer);
  t.is(pool.available, 2);
  {
    using again = acquired(pool);
    t.is(again.pool, pool);
    t.is(pool.available, 1);
  }
  t.is(pool.available, 2);
});

poolTest('sealed: nobody can shrink it, grow it, or change its seals', (t) => {
  using pool = new SharedBufferPool({ bufferSize: 100, count: 1 });
  t.throws(() => ftruncateSync(pool.fd, 0), { code: 'EPERM' });
  t.throws(() => ftruncateSync(pool.fd, 1e9), { code: 'EPERM' });
  const { EPERM, F_ADD_SEALS, F_GET_SEALS, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE } = constants;
  t.is(syscalls.fcntl(pool.fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  t.is(syscalls.fcntl(pool.fd, F_ADD_SEALS, F_SEAL_WRITE), -EPERM);
});

poolTest('a handle is opened once, by whoever has the pool; until then it counts', (t) => {
  using pool = new SharedBufferPool({ bufferSize: 100, count: 2 });
  using same = SharedBufferPool.open(pool.fd);
  const mine = acquired(pool);
  mine.buffer.write('passed on');
  const handle = JSON.parse(JSON.stringify(mine.share())) as SharedBufferHandle;
  mine.release();
  t.is(pool.available, 1, 'it is on its way');
  const theirs = same.open(handle);
  t.is(theirs.buffer.toString('latin1', 0, 9), 'passed on');
  t.throws(() => same.open(handle), { code: 'ERR_INVALID_HANDLE' });
  t.throws(() => pool.open(handle), { code: 'ERR_INVALID_HANDLE' });
  theirs.buffer.write('and back!');
  const back = pool.open(theirs.share());
  theirs.release();
  t.is(back.buffer.toString('latin1', 0, 9), 'and back!');
  back.release();
  t.is(pool.available, 2);
  t.throws(() => back.share(), { code: 'ERR_INVALID_STATE' });
});

poolTest('hostile handles, descriptors and options: an error, and nothing is lost', (t) => {
  using pool = new SharedBufferPool({ bufferSize: 100, count: 2 });
  using other = new SharedBufferPool({ bufferSize: 100, count: 2 });
  const valid = acquired(other).share();
  for (const handle of [
    valid,
    { ...valid, pool: (pool as unknown as { id: string }).id },
    { pool: '', ticket: 0, nonce: 0 },
    { ...acquired(pool).share(), ticket: -1 },
    { ...acquired(pool).share(), ticket: 1e9 },
    { ticket: 0.5 },
  ]) {
    t.throws(() => pool.open(handle as SharedBufferHandle), { code: 'ERR_INVALID_HANDLE' }, JSON.stringify(handle));
  }
  t.throws(() => pool.open(null as unknown as SharedBufferHandle), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(() => pool.release(acquired(other)), { code: 'ERR_INVALID_ARG_TYPE' });
  const fd = openSync(makeFile(directory, Buffer.alloc(10_000)), 'r+');
  t.throws(() => SharedBufferPool.open(fd), { code: 'ERR_INVALID_POOL', message: /not a memory file/ });
  closeSync(fd);
  const unsealed = syscalls.memfdCreate('other', constants.MFD_ALLOW_SEALING | constants.MFD_CLOEXEC);
  t.throws(() => SharedBufferPool.open(unsealed), { code: 'ERR_INVALID_POOL', message: /not sealed/ });
  syscalls.fcntl(unsealed, constants.F_ADD_SEALS, 7);
  t.throws(() => SharedBufferPool.open(unsealed), { code: 'ERR_INVALID_POOL', message: /header/ });
  syscalls.close(unsealed);
  const header = Buffer.alloc(64);
  syscalls.pread(pool.fd, header, header.length, 0);
  for (const [word, value, message] of [
    [2, 12_345, /another page size/],
    [3, 0, /its size is another/],
    [3, 1000, /its size is another/],
    [4, 0, /its size is another/],
    [0, 1, /its header is another/],
  ] as const) {
    const forged = syscalls.memfdCreate('other', constants.MFD_ALLOW_SEALING | constants.MFD_CLOEXEC);
    const changed = Buffer.from(header);
    changed.writeInt32LE(value, 4 * word);
    syscalls.pwrite(forged, changed, changed.length, 0);
    syscalls.fcntl(forged, constants.F_ADD_SEALS, 7);
    t.throws(() => SharedBufferPool.open(forged), { code: 'ERR_INVALID_POOL', message });
    syscalls.close(forged);
  }
  t.throws(() => SharedBufferPool.open(99_999), { code: 'ERR_INVALID_POOL' });
  t.throws(() => SharedBufferPool.open(-1), { code: 'ERR_OUT_OF_RANGE' });
});

test('options that make no sense', (t) => {
  for (const [options, code] of [
    [{ bufferSize: 0, count: 1 }, 'ERR_OUT_OF_RANGE'],
    [{ bufferSize: 1, count: 0 }, 'ERR_OUT_OF_RANGE'],
    [{ bufferSize: '1', count: 1 }, 'ERR_INVALID_ARG_TYPE'],
    [{ bufferSize: 1 }, 'ERR_INVALID_ARG_TYPE'],
    [undefined, 'ERR_INVALID_ARG_TYPE'],
  ] as const) {
    t.throws(() => new SharedBufferPool(options as { bufferSize: number; count: number }), { code });
  }
});

poolTest('closed: views are zeros, calls say so, others go on', async (t) => {
  const pool = new SharedBufferPool({ bufferSize: 100, count: 2 });
  const other = SharedBufferPool.open(pool.fd);
  const [held, shared] = [acquired(pool), acquired(pool)];
  held.buffer.fill(1);
  const theirs = other.open(shared.share());
  shared.buffer.fill(2);
  const handle = held.share();
  pool.close();
  pool.close();
  t.deepEqual([held.buffer[0], shared.buffer[0], theirs.buffer[0]], [0, 0, 2]);
  for (const use of [
    () => pool.acquire(),
    () => pool.available,
    () => pool.reclaim(),
    () => held.share(),
    () => pool.open(handle),
  ]) {
    t.throws(use, { code: 'ERR_POOL_CLOSED' });
  }
  t.notThrows(() => held.release());
  t.throws(() => other.open(handle), { code: 'ERR_INVALID_HANDLE' }, 'what was on its way is back');
  t.is(other.available, 1);
  theirs.release();
  t.is(other.available, 2);
  other.close();
  await collectGarbage();
});

poolTest('threads: a frame goes round without a copy; a terminated thread loses what it held', async (t) => {
  using pool = new SharedBufferPool({ bufferSize: 100_000, count: 4 });
  const worker = new Worker(fixture('pool-worker'), { workerData: { fd: pool.fd } });
  const frame = acquired(pool);
  frame.buffer.fill(7);
  worker.postMessage(frame.share());
  frame.release();
  const [handle] = (await once(worker, 'message')) as [SharedBufferHandle];
  const back = pool.open(handle);
  t.true(back.buffer.equals(Buffer.alloc(100_000, 8)), 'it has added one to every byte');
  back.release();
  t.is(pool.available, 3, 'the thread keeps one');
  t.is(pool.reclaim(), 0, 'it lives');
  await worker.terminate();
  await until(() => pool.reclaim() === 1 || pool.available === 4, 'it is reclaimed');
  t.is(pool.available, 4);
});

poolTest('processes: an inherited descriptor, a small message, the same pages', async (t) => {
  using pool = new SharedBufferPool({ bufferSize: 1_000_000, count: 3 });
  const child = holder(pool);
  const frame = acquired(pool);
  frame.buffer.fill('x');
  const answer = await ask(child, { open: frame.share() });
  t.is(answer.text, 'xxxx');
  await ask(child, { write: 'from the child' });
  t.is(frame.buffer.toString('latin1', 0, 14), 'from the child');
  const sent = await ask(child, { share: true });
  const again = pool.open(sent.handle as SharedBufferHandle);
  t.is(again.buffer, frame.buffer);
  frame.release();
  again.release();
  t.is(pool.available, 2);
  await ask(child, { release: true });
  t.is(pool.available, 3);
  child.disconnect();
  await once(child, 'exit');
});

poolTest('a crashed holder loses its references, those on their way too; living ones keep theirs', async (t) => {
  using pool = new SharedBufferPool({ bufferSize: 100, count: 8 });
  const [doomed, alive] = [holder(pool), holder(pool)];
  await ask(doomed, { acquire: 3 });
  await ask(alive, { acquire: 2 });
  const mine = acquired(pool);
  const { handle } = await ask(doomed, { share: true });
  const kept = pool.open((await ask(doomed, { share: true })).handle as SharedBufferHandle);
  t.is(pool.available, 2);
  doomed.kill('SIGKILL');
  await once(doomed, 'exit');
  t.is(pool.reclaim(), 2, 'of its three one is held here as well');
  t.is(pool.available, 4);
  t.throws(() => pool.open(handle as SharedBufferHandle), { code: 'ERR_INVALID_HANDLE' });
  kept.release();
  t.is(pool.available, 5);
  // Without being asked, when there are no others.
  alive.kill('SIGKILL');
  await once(alive, 'exit');
  const all = Array.from({ length: 7 }, () => acquired(pool));
  t.is(pool.acquire(), undefined);
  for (const buffer of [mine, ...all]) buffer.release();
  t.is(pool.available, 8);
});

poolTest('many processes at once: no buffer is ever two holders’', async (t) => {
  using pool = new SharedBufferPool({ bufferSize: 64, count: 5 });
  const children = Array.from({ length: 4 }, () => holder(pool));
  const answers = await Promise.all(children.map((child, index) => ask(child, { stress: 3000, mark: index + 1 })));
  t.deepEqual(
    answers.map(({ clashes }) => clashes),
    [0, 0, 0, 0],
  );
  t.is(pool.available, 5);
  for (const child of children) child.disconnect();
  await Promise.all(children.map((child) => once(child, 'exit')));
});

poolTest('no more than 32 holders at a time', (t) => {
  using pool = new SharedBufferPool({ bufferSize: 64, count: 1 });
  const others = Array.from({ length: 31 }, () => SharedBufferPool.open(pool.fd));
  const before = openDescriptors();
  t.throws(() => SharedBufferPool.open(pool.fd), { code: 'ERR_POOL_TOO_MANY_HOLDERS' });
  t.is(openDescriptors(), before);
  for (const other of others) other.close();
  SharedBufferPool.open(pool.fd).close();
});

poolTest('handles that nobody opens do not go on for ever', (t) => {
  using pool = new SharedBufferPool({ bufferSize: 64, count: 1 });
  const buffer = acquired(pool);
  const handles: SharedBufferHandle[] = [];
  const error = t.throws(() => {
    for (;;) handles.push(buffer.share());
  });
  t.is((error as NodeJS.ErrnoException | undefined)?.code, 'ERR_POOL_TOO_MANY_HANDLES');
  t.is(handles.length, 64);
  for (const handle of handles) pool.open(handle).release();
  buffer.release();
  t.is(pool.available, 1);
});

poolTest('a forgotten pool is closed when it has been collected', async (t) => {
  const before = openDescriptors();
  const forget = (): void => {
    for (let made = 0; made < 20; made++) void new SharedBufferPool({ bufferSize: 64, count: 1 }).acquire()?.buffer[0];
  };
  forget();
  await until(() => {
    void collectGarbage();
    return openDescriptors() <= before + 4 && mappingStats().regions < 10;
  }, 'they are gone');
  t.pass();
});

// Another process may write what it likes into the books: whatever stands there is an index of some holder, or a nonce.
poolTest('a negative word in the books: handles are made and opened, and the other words stay', (t) => {
  const [HEADER_WORDS, HOLDERS, LAST_NONCE, OWNER] = [16, 32, 8, 2];
  for (const word of [-1, -17, -32, -536_870_897, -(2 ** 31)]) {
    using pool = new SharedBufferPool({ bufferSize: 100, count: 1 });
    using other = SharedBufferPool.open(pool.fd);
    const write = (at: number): unknown => syscalls.pwrite(pool.fd, Int32Array.of(word), 4, 4 * at);
    const header = new Int32Array(HEADER_WORDS);
    const read = (): string => {
      syscalls.pread(pool.fd, header, 4 * HEADER_WORDS, 0);
      return header.join();
    };
    write(LAST_NONCE);
    const mine = acquired(pool);
    const handle = mine.share();
    t.true(handle.nonce > 0, `nonce ${handle.nonce} after ${word}`);
    const before = read();
    write(HEADER_WORDS + HOLDERS + OWNER); // of the first ticket, which lies behind the counts of the only buffer
    const theirs = other.open(handle);
    theirs.buffer.fill(7);
    t.is(mine.buffer[99], 7);
    t.is(read(), before, `the header after owner ${word}`);
    theirs.release();
    mine.release();
  }
});
