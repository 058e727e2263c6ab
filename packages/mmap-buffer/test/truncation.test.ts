/** Files that other processes cut short, extend, rewrite and rename under their mappings. */

import { once } from 'node:events';
import { constants, readFileSync, renameSync, statSync, truncateSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { syscalls } from '@zerocopy/core-syscalls';
import { type MapGuard, type MappedFile, mapFile, mapFileSync } from '@zerocopy/mmap-buffer';
import {
  elsewhere,
  fixture,
  leaseTest,
  MiB,
  makeFile,
  mapTest,
  pattern,
  runProgram,
  temporaryDirectory,
} from './harness.js';

const directory = temporaryDirectory();
const page = syscalls.getpagesize();
const fill = Buffer.alloc(8 * page, 'm');
const M = 'm'.charCodeAt(0);

/** Waiting to be told keeps neither the process alive nor the mapping: something else has to, for both. */
async function toldOf(mapped: MappedFile): Promise<void> {
  const alive = setInterval(() => void mapped.closed, 1000);
  await once(mapped, 'truncated');
  clearInterval(alive);
}

mapTest(
  'cut short by another process, in every access: zeros, told, and an error where it matters (kernel-rules: sigbus)',
  async (t) => {
    for (const access of ['read', 'write', 'private'] as const) {
      for (const guard of ['trap', 'both'] as const) {
        const path = makeFile(directory, fill);
        const mapped = await mapFile(path, { access, guard });
        const told = toldOf(mapped);
        const view = mapped.buffer;
        t.is(view[7 * page], M);
        t.false(mapped.truncated);
        await elsewhere(path, `fs.truncateSync(path, ${page + 1})`);
        t.deepEqual([view[0], view[page], view[page + 1], view[2 * page], view[8 * page - 1]], [M, M, 0, 0, 0]);
        t.true(mapped.truncated);
        await told;
        if (access === 'write') {
          view.write('lost', 5 * page);
          t.throws(() => mapped.flush(), { code: 'ERR_FILE_TRUNCATED' });
          await t.throwsAsync(mapped.flushAsync(), { code: 'ERR_FILE_TRUNCATED' });
          await t.throwsAsync(mapped.resize(10 * page), { code: 'ERR_FILE_TRUNCATED' });
          t.is(statSync(path).size, page + 1, 'the file is not changed');
        }
        await mapped.close();
        t.true(mapped.truncated, 'also afterwards');
      }
    }
  },
);

mapTest(
  'noticed without being touched, and within the last page; told once, and not to a closed mapping',
  async (t) => {
    const path = makeFile(directory, fill);
    const mapped = mapFileSync(path);
    let told = 0;
    mapped.on('truncated', () => told++);
    mapped.on('truncated', () => told++);
    const hearing = toldOf(mapped);
    await elsewhere(path, `fs.truncateSync(path, ${8 * page - 1})`);
    await hearing;
    await elsewhere(path, 'fs.truncateSync(path, 0)');
    await new Promise((resolve) => setTimeout(resolve, 250));
    t.is(told, 2);
    await t.throwsAsync(mapped.populate(), { code: 'ERR_FILE_TRUNCATED' });
    await mapped.close();
    const other = mapFileSync(makeFile(directory, fill));
    other.on('truncated', () => t.fail('it is closed'));
    await other.close();
    other.on('truncated', () => t.fail('it is closed'));
    await new Promise((resolve) => setTimeout(resolve, 150));
  },
);

leaseTest("guard 'lease': the bytes stay as they were, whatever the file becomes", async (t) => {
  for (const size of [8 * page, 20 * MiB]) {
    const path = makeFile(directory, pattern(size));
    const mapped = await mapFile(path, { guard: 'lease' });
    const view = mapped.buffer;
    await elsewhere(path, "fs.writeFileSync(path, 'something else')");
    t.true(view.equals(pattern(size)), `${size}`);
    t.is(readFileSync(path, 'utf8'), 'something else');
    await mapped.close();
    t.is(view[1], 0);
  }
});

leaseTest("guard 'lease' where none can be had: the kernel's reason; 'both' does without", async (t) => {
  const path = makeFile(directory, fill);
  const writer = await open(path, 'r+');
  await t.throwsAsync(mapFile(path, { guard: 'lease' }), { code: 'EAGAIN', message: /open for writing/ });
  const mapped = await mapFile(path);
  t.is(mapped.buffer[0], M);
  await mapped.close();
  await writer.close();
});

leaseTest('a mapping holds up whoever opens the file for writing no longer than a moment', async (t) => {
  const path = makeFile(directory, fill);
  const mapped = await mapFile(path);
  const writer = await open(path, constants.O_WRONLY);
  await writer.write('w');
  await writer.close();
  t.is(mapped.buffer[0], 'w'.charCodeAt(0));
  await mapped.close();
});

mapTest('extended, rewritten, renamed, removed: the mapping is of the file that was opened', async (t) => {
  const path = makeFile(directory, fill);
  const mapped = await mapFile(path, { guard: 'trap' });
  await elsewhere(path, "fs.appendFileSync(path, 'more')");
  t.is(mapped.length, 8 * page);
  t.false(mapped.truncated);
  await elsewhere(path, "const fd = fs.openSync(path, 'r+'); fs.writeSync(fd, 'n', 3)");
  t.is(mapped.buffer[3], 'n'.charCodeAt(0));
  const other = makeFile(directory, 'other');
  renameSync(other, path);
  t.is(mapped.buffer[0], M);
  await elsewhere(path, 'fs.unlinkSync(path)');
  t.is(mapped.buffer[7 * page], M);
  t.false(mapped.truncated);
  await mapped.close();
});

mapTest('cut short and extended again before anybody looked: what is there now', async (t) => {
  const path = makeFile(directory, fill);
  const mapped = await mapFile(path, { guard: 'trap' });
  void mapped.buffer;
  truncateSync(path, 0);
  await elsewhere(path, `fs.writeFileSync(path, Buffer.alloc(${8 * page}, 'n'))`);
  t.true(mapped.buffer.equals(Buffer.alloc(8 * page, 'n')));
  await mapped.close();
});

mapTest('while it is being read, again and again: no read fails, and nobody dies', async (t) => {
  const path = makeFile(directory, fill);
  const program = `
    const until = Date.now() + 800;
    while (Date.now() < until) {
      fs.truncateSync(path, Math.floor(Math.random() * ${8 * page}));
      fs.writeFileSync(path, Buffer.alloc(${8 * page}, 'm'));
    }`;
  let ended = false;
  const disturbing = elsewhere(path, program).finally(() => {
    ended = true;
  });
  let rounds = 0;
  const values = new Set<number>();
  while (!ended) {
    const maps: MappedFile[] = [];
    for (const access of ['read', 'write', 'private'] as const) {
      for (const guard of ['trap', 'both'] as MapGuard[]) {
        const mapped = await mapFile(path, { access, guard });
        maps.push(mapped);
        for (const byte of mapped.buffer) values.add(byte);
      }
    }
    for (const mapped of maps) await mapped.close();
    rounds++;
  }
  await disturbing;
  t.true(rounds > 0);
  values.delete(M);
  values.delete(0);
  t.deepEqual([...values], [], 'bytes of the file, or zeros');
});

mapTest("guard 'none' is what it says", async (t) => {
  const path = makeFile(directory, fill);
  t.like(await runProgram(process.execPath, [fixture('unguarded'), path]), { signal: 'SIGBUS', stdout: 'm\n' });
});
