/** copyFile beside fs.copyFile: same files, same modes, same errors. */
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  linkSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { copyFile as nodeCopyFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { TransferError } from '@zerocopy/core-syscalls';
import { type CopyFileOptions, copyFile } from '@zerocopy/file-copy';
import test from 'ava';
import fc from 'fast-check';
import { fresh, kernelTest, MiB, makeFile, openDescriptors, pattern, temporaryDirectory } from './harness.js';

const directory = temporaryDirectory();

test('any size, onto nothing and onto something longer: the same file, and its mode', async (t) => {
  for (const size of [0, 1, 4095, 4097, MiB, 40 * MiB + 3]) {
    const content = pattern(size);
    const source = makeFile(directory, content);
    for (const [reflink, mode] of [
      ['auto', 0o640],
      ['never', 0o755],
    ] as const) {
      chmodSync(source, mode);
      for (const destination of [fresh(directory), makeFile(directory, Buffer.alloc(size + 1000, 'z'))]) {
        const result = await copyFile(source, destination, { reflink });
        t.true(readFileSync(destination).equals(content), `${size}, ${reflink}`);
        t.is(statSync(destination).mode & 0o7777, mode);
        t.is(result.bytes, size);
        t.true(result.durationMs >= 0);
      }
    }
  }
});

test('paths as strings, Buffers and URLs; through a symbolic link', async (t) => {
  const source = makeFile(directory);
  for (const convert of [(path: string) => path, Buffer.from, pathToFileURL]) {
    const destination = fresh(directory);
    await copyFile(convert(source) as string, convert(destination) as string);
    t.is(readFileSync(destination, 'utf8'), 'content');
  }
  const link = fresh(directory);
  symlinkSync(makeFile(directory, 'behind the link'), link);
  await copyFile(source, link);
  t.is(readFileSync(link, 'utf8'), 'content');
});

test('a file copied onto itself, by any of its names, stays what it is (kernel-rules: ficlone-same-file)', async (t) => {
  const source = makeFile(directory, 'still here');
  const other = fresh(directory);
  linkSync(source, other);
  for (const destination of [source, other]) {
    for (const reflink of ['auto', 'always', 'never'] as const) {
      const { bytes, fallbackReason } = await copyFile(source, destination, { reflink });
      t.is(bytes, 0);
      t.is(fallbackReason, 'source and destination are the same file');
      t.is(readFileSync(source, 'utf8'), 'still here');
    }
  }
});

test('errors: the codes of fs.copyFile, and nothing is left behind or destroyed', async (t) => {
  const source = makeFile(directory);
  const existing = makeFile(directory, 'existing');
  const missing = join(directory, 'missing');
  for (const [from, to] of [
    [missing, fresh(directory)],
    [source, join(missing, 'file')],
    [source, directory],
  ] as const) {
    const codeOf = (copy: (from: string, to: string) => Promise<unknown>): Promise<unknown> =>
      copy(from, to).then(
        () => 'copied',
        (error: NodeJS.ErrnoException) => error.code,
      );
    t.is(await codeOf(copyFile), await codeOf(nodeCopyFile), `${from} ${to}`);
  }
  await t.throwsAsync(copyFile(directory, fresh(directory)), { code: 'EISDIR' });
  await t.throwsAsync(copyFile('/dev/null', fresh(directory)), { code: 'EINVAL' });
  await t.throwsAsync(copyFile(missing, existing), { code: 'ENOENT' });
  await t.throwsAsync(copyFile(source, existing, { exclusive: true }), { code: 'EEXIST' });
  t.is(readFileSync(existing, 'utf8'), 'existing');
  const unmade = fresh(directory);
  await t.throwsAsync(copyFile(directory, unmade), { code: 'EISDIR' });
  t.false(existsSync(unmade));
});

test('options that make no sense: what was expected, and what came', async (t) => {
  const source = makeFile(directory);
  const cases: [unknown, unknown, unknown, string][] = [
    [1, 'b', {}, 'ERR_INVALID_ARG_TYPE'],
    [source, undefined, {}, 'ERR_INVALID_ARG_TYPE'],
    [source, fresh(directory), null, 'ERR_INVALID_ARG_TYPE'],
    [source, fresh(directory), { reflink: true }, 'ERR_INVALID_ARG_VALUE'],
    [source, fresh(directory), { exclusive: 1 }, 'ERR_INVALID_ARG_TYPE'],
    [source, fresh(directory), { onProgress: {} }, 'ERR_INVALID_ARG_TYPE'],
    [source, fresh(directory), { signal: {} }, 'ERR_INVALID_ARG_TYPE'],
  ];
  for (const [from, to, options, code] of cases) {
    await t.throwsAsync(copyFile(from as string, to as string, options as CopyFileOptions), { code });
  }
});

test('files that say they are empty, or larger than they are, are copied as they read (kernel-rules: st-size-lies, copy-range-refusals)', async (t) => {
  for (const source of ['/proc/version', '/sys/kernel/mm/transparent_hugepage/enabled', '/proc/self/cmdline']) {
    if (!existsSync(source)) continue;
    const destination = fresh(directory);
    const { bytes } = await copyFile(source, destination);
    t.true(readFileSync(destination).equals(readFileSync(source)), source);
    t.is(bytes, readFileSync(source).length);
  }
});

test('progress: from the first piece to the last byte, with the total', async (t) => {
  const source = makeFile(directory, pattern(40 * MiB));
  const told: [number, number | undefined][] = [];
  const { syscalls } = await copyFile(source, fresh(directory), {
    onProgress: (bytes, total) => told.push([bytes, total]),
  });
  t.true(told.length >= 3, `${told.length}`);
  t.deepEqual(told.at(-1), [40 * MiB, 40 * MiB]);
  t.true(told.every(([bytes], index) => index === 0 || bytes > (told[index - 1]?.[0] as number)));
  t.true(syscalls < 200, `${syscalls}`);
});

test.serial(
  'aborted before, in the middle, and by what onProgress throws: the copy is gone, and the count is told',
  async (t) => {
    const source = makeFile(directory, pattern(60 * MiB));
    const before = openDescriptors();
    const untouched = makeFile(directory, 'untouched');
    const early = await t.throwsAsync(copyFile(source, untouched, { signal: AbortSignal.abort() }), {
      code: 'ABORT_ERR',
    });
    t.is(early?.name, 'AbortError');
    t.is(readFileSync(untouched, 'utf8'), 'untouched');
    for (const reflink of ['auto', 'never'] as const) {
      const controller = new AbortController();
      const destination = fresh(directory);
      const error = await t.throwsAsync<TransferError>(
        copyFile(source, destination, {
          reflink,
          signal: controller.signal,
          onProgress: (bytes) => bytes > 10 * MiB && controller.abort(new Error('why')),
        }),
        { instanceOf: TransferError, code: 'ABORT_ERR' },
      );
      t.true((error?.bytes ?? 0) > 10 * MiB && (error?.bytes ?? 0) < 60 * MiB, `${error?.bytes}`);
      t.is((error?.cause as Error | undefined)?.message, 'why');
      t.false(existsSync(destination));
    }
    const destination = fresh(directory);
    const thrown = await t.throwsAsync(
      copyFile(source, destination, {
        onProgress: () => {
          throw new Error('mine');
        },
      }),
    );
    t.is((thrown?.cause as Error | undefined)?.message, 'mine');
    t.false(existsSync(destination));
    t.true(openDescriptors() <= before, 'nothing is open');
  },
);

kernelTest('the event loop turns while a file is copied', async (t) => {
  const source = makeFile(directory, pattern(60 * MiB));
  let turns = 0;
  let done = false;
  const count = (): void => {
    turns++;
    if (!done) setImmediate(count);
  };
  count();
  const { method } = await copyFile(source, fresh(directory));
  done = true;
  t.true(turns > 20, `${turns}`);
  t.not(method, 'copy');
});

test('a source that is cut short meanwhile: what there was of it', async (t) => {
  const source = makeFile(directory, pattern(60 * MiB));
  const destination = fresh(directory);
  let cut = false;
  const { bytes } = await copyFile(source, destination, {
    reflink: 'never',
    onProgress: (copied) => {
      if (!cut && copied >= MiB) truncateSync(source, 5 * MiB);
      cut ||= copied >= MiB;
    },
  });
  t.true(bytes <= 5 * MiB + 16 * MiB);
  t.is(statSync(destination).size, bytes);
  t.true(
    readFileSync(destination)
      .subarray(0, 5 * MiB)
      .equals(pattern(5 * MiB).subarray(0, Math.min(bytes, 5 * MiB))),
  );
});

const blocks = (path: string): number => statSync(path).blocks * 512;

test('beyond 4 GiB: a file of holes keeps them, and every byte has its place', async (t) => {
  const source = makeFile(directory, '');
  const size = 5 * 1024 * MiB + 123;
  truncateSync(source, size);
  const fd = openSync(source, 'r+');
  const marks = [0, 2 ** 31 - 2, 2 ** 32 - 2, 2 ** 32 + 7, size - 5];
  for (const at of marks) writeSync(fd, 'mark!', at);
  closeSync(fd);
  for (const reflink of ['auto', 'never'] as const) {
    const destination = fresh(directory);
    const { bytes } = await copyFile(source, destination, { reflink });
    t.is(bytes, size);
    t.is(statSync(destination).size, size);
    const copy = openSync(destination, 'r');
    for (const at of marks) {
      const read = Buffer.alloc(5);
      readSync(copy, read, 0, 5, at);
      t.is(read.toString(), 'mark!', `${at}`);
    }
    closeSync(copy);
    t.true(
      blocks(destination) <= blocks(source) + 64 * 1024,
      `${blocks(destination)} bytes of blocks for ${blocks(source)}`,
    );
  }
});

test('random files of data and holes: the same bytes, no more blocks than fs.copyFile takes', async (t) => {
  const extent = fc.record({ at: fc.integer({ min: 0, max: 60 }), pages: fc.integer({ min: 1, max: 6 }) });
  await fc.assert(
    fc.asyncProperty(
      fc.array(extent, { maxLength: 8 }),
      fc.integer({ min: 0, max: 300_000 }),
      fc.constantFrom<'auto' | 'never'>('auto', 'never'),
      async (extents, size, reflink) => {
        const source = makeFile(directory, '');
        const fd = openSync(source, 'r+');
        for (const { at, pages } of extents) writeSync(fd, pattern(pages * 4096), 0, pages * 4096, at * 4096);
        closeSync(fd);
        truncateSync(source, size);
        const [destination, reference] = [fresh(directory), fresh(directory)];
        await copyFile(source, destination, { reflink });
        copyFileSync(source, reference);
        if (!readFileSync(destination).equals(readFileSync(reference))) throw new Error('the bytes differ');
        if (blocks(destination) > Math.max(blocks(reference), blocks(source))) throw new Error('more blocks');
      },
    ),
    { numRuns: Number(process.env.ZEROCOPY_PROPERTY_RUNS ?? 60) },
  );
  t.pass();
});

test.serial(
  'aborted while its destination is being made: what the caller does with the path next is left alone',
  async (t) => {
    const source = makeFile(directory, pattern(1000));
    let aborted = 0;
    for (let run = 0; run < 200; run++) {
      const destination = fresh(directory);
      const controller = new AbortController();
      const copied = copyFile(source, destination, { signal: controller.signal });
      for (let turn = 0; turn < run % 20; turn++) await new Promise(setImmediate);
      controller.abort();
      const { code } = await copied.then(
        () => ({ code: undefined }),
        (error: NodeJS.ErrnoException) => error,
      );
      if (code === undefined) continue;
      aborted++;
      t.is(code, 'ABORT_ERR');
      t.false(existsSync(destination), `run ${run}`);
      if (run % 2 === 0) await copyFile(source, destination);
      else await Promise.all([rm(destination, { force: true }), rm(destination, { force: true })]);
      await Promise.all(Array.from({ length: 4 }, () => stat('/'))); // whatever the pool had to do is done
      t.is(existsSync(destination), run % 2 === 0, `run ${run}`);
    }
    t.true(aborted > 0);
  },
);

test.serial('500 copies, some aborted: no descriptor stays open', async (t) => {
  const source = makeFile(directory, pattern(200_000));
  const destination = fresh(directory);
  await copyFile(source, destination);
  const before = openDescriptors();
  for (let done = 0; done < 500; done++) {
    const signal = done % 5 === 0 ? AbortSignal.timeout(done % 3) : undefined;
    const options = { reflink: done % 2 ? ('auto' as const) : ('never' as const) };
    await copyFile(source, destination, signal === undefined ? options : { ...options, signal }).catch(() => {});
  }
  t.is(openDescriptors(), before);
});
