/** Files that stay open between transfers: what is found at the path by the next one, and when they are closed. */
import { once } from 'node:events';
import fs, {
  appendFileSync,
  chmodSync,
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { feature, libcStatus } from '@zerocopy/core-syscalls';
import { filesystemOf, freeSpareDescriptors } from '@zerocopy/core-syscalls/descriptors';
import { createSendfileStream, keepFilesOpen, sendFile } from '@zerocopy/sendfile-stream';
import { OpenFileCache } from '@zerocopy/sendfile-stream/route';
import { testsWhere } from '@zerocopy/testing/kernel-tests';
import { collect, get, KiB, pattern, temporaryDirectory, until, withHttpServer, writeFile } from './harness.js';

const directory = temporaryDirectory();

function kindOfDisk(): string {
  const fd = openSync(directory, 'r');
  const { kind } = filesystemOf(fd);
  closeSync(fd);
  return kind;
}

const isLocal = libcStatus().available && ['local', 'memory'].includes(kindOfDisk());
const { serial } = testsWhere('files that stay open', libcStatus(), feature('openat2Cached'), feature('preadvNowait'), {
  available: isLocal,
  reason: 'the temporary directory is not on a local disk',
});

/** Files of the test's directory that this process has open. */
function openFiles(): string[] {
  const names: string[] = [];
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`);
      if (path.startsWith(`${directory}/`)) names.push(path.slice(directory.length + 1));
    } catch {} // closed meanwhile
  }
  return names.sort();
}

type Ask = (name: string) => Promise<string>;

/** A server that sends files of the directory; its answers, or the code of the error. */
async function withAnswers(use: (ask: Ask, port: number) => Promise<void>): Promise<void> {
  await withHttpServer(
    async (request, response) => {
      try {
        await sendFile(response, join(directory, request.url as string));
      } catch (error) {
        if (!response.headersSent) response.end(String((error as NodeJS.ErrnoException).code));
      }
    },
    (port) => use(async (name) => (await get(port, { path: `/${name}` })).body.toString(), port),
  );
}

serial('the next transfer sees whatever has happened to the file', async (t) => {
  keepFilesOpen({ files: 10, maxAgeMs: 60_000 });
  const path = writeFile(join(directory, 'changing'), Buffer.from('first'));
  await withAnswers(async (ask) => {
    const body = (): Promise<string> => ask('changing');
    for (let n = 0; n < 3; n++) t.is(await body(), 'first');
    t.deepEqual(openFiles(), ['changing']);
    writeFileSync(path, 'secnd'); // in place, of the same size
    for (let n = 0; n < 3; n++) t.is(await body(), 'secnd');
    appendFileSync(path, ' and more');
    for (let n = 0; n < 3; n++) t.is(await body(), 'secnd and more');
    truncateSync(path, 3);
    for (let n = 0; n < 3; n++) t.is(await body(), 'sec');
    writeFileSync(`${path}.new`, 'replaced');
    renameSync(`${path}.new`, path);
    for (let n = 0; n < 3; n++) t.is(await body(), 'replaced');
    rmSync(path);
    t.is(await body(), 'ENOENT');
    t.deepEqual(openFiles(), []);
    symlinkSync(writeFile(join(directory, 'target'), Buffer.from('behind a link')), path);
    for (let n = 0; n < 3; n++) t.is(await body(), 'behind a link');
    rmSync(path);
    mkdirSync(path);
    t.is(await body(), 'EISDIR');
  });
  keepFilesOpen(false);
  t.deepEqual(openFiles(), []);
});

serial('what may not be read any more is not sent', async (t) => {
  keepFilesOpen({ files: 10, maxAgeMs: 60_000 });
  const path = writeFile(join(directory, 'secret'), Buffer.from('secret'));
  await withAnswers(async (ask) => {
    for (let n = 0; n < 3; n++) t.is(await ask('secret'), 'secret');
    t.deepEqual(openFiles(), ['secret']);
    chmodSync(path, 0);
    // The superuser may read it all the same.
    t.is(await ask('secret'), process.geteuid?.() === 0 ? 'secret' : 'EACCES');
  });
  keepFilesOpen(false);
});

serial('a user that the process has become may not read what the one before has opened', async (t) => {
  if (process.geteuid?.() !== 0) return t.pass('only the superuser becomes another');
  keepFilesOpen({ files: 10, maxAgeMs: 60_000 });
  const path = writeFile(join(directory, 'mine'), Buffer.from('mine'));
  chmodSync(path, 0o600);
  chmodSync(directory, 0o755);
  await withAnswers(async (ask) => {
    for (let n = 0; n < 3; n++) t.is(await ask('mine'), 'mine');
    t.deepEqual(openFiles(), ['mine']);
    process.seteuid?.(65534);
    try {
      const answer = await ask('mine');
      t.true(answer === 'EACCES', answer);
    } finally {
      process.seteuid?.(0);
    }
    t.is(await ask('mine'), 'mine');
  });
  keepFilesOpen(false);
});

serial('a file that is sent once does not stay open; one that is kept is closed by age', async (t) => {
  keepFilesOpen({ files: 10, maxAgeMs: 200 });
  for (const name of ['once', 'twice']) writeFile(join(directory, name), Buffer.from(name));
  await withAnswers(async (ask) => {
    await ask('once');
    t.deepEqual(openFiles(), []);
    for (let n = 0; n < 3; n++) await ask('twice');
    await until(() => openFiles().length === 0, 'closed by age');
    t.is(await ask('twice'), 'twice');
  });
  keepFilesOpen(false);
});

serial('at most so many, those used last; and a transfer goes on with a file that is kept no more', async (t) => {
  keepFilesOpen({ files: 2, maxAgeMs: 60_000 });
  for (const name of ['a', 'b', 'c']) writeFile(join(directory, name), Buffer.from(name));
  const big = pattern(16_000 * KiB);
  writeFile(join(directory, 'big'), big);
  await withAnswers(async (ask, port) => {
    for (const name of ['a', 'a', 'b', 'b', 'a', 'c', 'c']) t.is(await ask(name), name);
    t.deepEqual(openFiles(), ['a', 'c']);
    await ask('big');
    await ask('big');
    const [response] = (await once(http.get({ port, path: '/big', agent: false }), 'response')) as [
      http.IncomingMessage,
    ];
    keepFilesOpen(false);
    rmSync(join(directory, 'big'));
    t.true(Buffer.concat(await response.toArray()).equals(big));
    await until(() => openFiles().length === 0, 'closed after it was sent');
  });
});

serial('what is kept is given up when descriptors run short, and the call is made again', async (t) => {
  keepFilesOpen({ files: 100, maxAgeMs: 60_000 });
  const names = Array.from({ length: 5 }, (_, n) => `spare${n}`);
  for (const name of names) writeFile(join(directory, name), Buffer.from(name));
  await withAnswers(async (ask) => {
    for (const name of [...names, ...names]) await ask(name);
    t.is(openFiles().length, 5);
    t.false(freeSpareDescriptors(Object.assign(new Error('no'), { code: 'ENOENT' })));
    t.is(openFiles().length, 5);
    t.true(freeSpareDescriptors(Object.assign(new Error('too many'), { code: 'EMFILE' })));
    t.is(openFiles().length, 0);
    t.false(freeSpareDescriptors(Object.assign(new Error('too many'), { code: 'EMFILE' })));
  });
  keepFilesOpen(false);
});

serial('what is counted: every file that was held is released once', (t) => {
  const counts = new Map<string, number>();
  const file = (name: string): { hold(): void; release(): void; isOfStatx(): boolean } => ({
    hold: () => counts.set(name, (counts.get(name) ?? 0) + 1),
    release: () => counts.set(name, (counts.get(name) ?? 0) - 1),
    isOfStatx: () => true,
  });
  const cache = new OpenFileCache({ files: 3, maxAgeMs: 60_000 }, true, () => true);
  for (let n = 0; n < 100; n++) {
    const name = `${(n * 7) % 5}`;
    const kept = cache.get(name);
    if (kept === undefined) cache.keep(name, file(name));
    else kept.release();
  }
  t.is(cache.size, 3);
  t.is(
    [...counts.values()].reduce((sum, one) => sum + one, 0),
    3,
  );
  t.is(cache.freeDescriptors(), 3);
  t.deepEqual([...new Set(counts.values())], [0]);
});

serial('options that are none are refused', (t) => {
  for (const limits of [
    { files: 0, maxAgeMs: 1 },
    { files: 1, maxAgeMs: 2 ** 31 },
    { files: 1.5, maxAgeMs: 1 },
  ]) {
    t.throws(() => keepFilesOpen(limits), { code: 'ERR_OUT_OF_RANGE' });
  }
  t.throws(() => keepFilesOpen(true as never), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(() => keepFilesOpen({ files: '1', maxAgeMs: 1 } as never), { code: 'ERR_INVALID_ARG_TYPE' });
});

/** Makes it one that is kept: from the second time on that it is asked for. */
async function keep(path: string): Promise<void> {
  for (let n = 0; n < 2; n++) await collect(createSendfileStream(path).on('error', () => {}));
}

serial(
  'streams read a kept file each from its own position, and have a descriptor of their own when it is asked for',
  async (t) => {
    keepFilesOpen({ files: 10, maxAgeMs: 60_000 });
    const content = pattern(300_000);
    const path = writeFile(join(directory, 'shared'), content);
    await keep(path);
    t.deepEqual(openFiles(), ['shared']);
    const streams = Array.from({ length: 4 }, () => createSendfileStream(path));
    t.true(streams.every(({ pending, fd }) => pending && fd === null));
    const opened = await Promise.all(streams.map(async (stream) => (await once(stream, 'open'))[0] as number));
    t.is(new Set(opened).size, 4);
    t.deepEqual(
      streams.map(({ fd }) => fd),
      opened,
    );
    t.true(streams.every(({ pending }) => !pending));
    for (const bytes of await Promise.all(streams.map(collect))) t.true(bytes.equals(content));
    await until(() => openFiles().length === 1, 'only the kept one is open');
    // A caller who closes the descriptor closes nobody else's.
    const own = createSendfileStream(path, { autoClose: false });
    await once(own, 'ready');
    closeSync(own.fd as number);
    own.on('error', () => {}).destroy();
    t.true((await collect(createSendfileStream(path, { start: 5, end: 99_999 }))).equals(content.subarray(5, 100_000)));
    keepFilesOpen(false);
    t.deepEqual(openFiles(), []);
  },
);

serial('a kept file beneath a pipe: unpiped in the middle, destroyed, replaced meanwhile', async (t) => {
  keepFilesOpen({ files: 10, maxAgeMs: 60_000 });
  const content = pattern(20 * 1024 * KiB);
  const path = writeFile(join(directory, 'piped'), content);
  await keep(path);
  await withHttpServer(
    (request, response) => {
      const stream = createSendfileStream(path);
      stream.on('error', () => {});
      if (request.url === '/destroyed') stream.once('progress', () => stream.destroy(new Error('enough')));
      if (request.url === '/unpiped')
        stream.once('progress', () => {
          stream.unpipe(response);
          setImmediate(() => stream.pipe(response));
        });
      stream.pipe(response);
      stream.on('close', () => stream.readableEnded || response.destroy());
    },
    async (port) => {
      t.true((await get(port, { path: '/whole' })).body.equals(content));
      t.true((await get(port, { path: '/unpiped' })).body.equals(content));
      await t.throwsAsync(get(port, { path: '/destroyed' }));
      const other = pattern(5000);
      writeFile(`${path}-new`, other);
      const before = get(port, { path: '/before' });
      renameSync(`${path}-new`, path);
      const { body } = await before;
      t.true(body.equals(content) || body.equals(other));
      for (let n = 0; n < 3; n++) t.true((await get(port, { path: '/after' })).body.equals(other));
    },
  );
  keepFilesOpen(false);
  await until(() => openFiles().length === 0, 'all are closed');
});

serial('keepOpen: false, and an fs or an open of others: nothing is shared', async (t) => {
  keepFilesOpen({ files: 10, maxAgeMs: 60_000 });
  const path = writeFile(join(directory, 'apart'), pattern(1000));
  for (let n = 0; n < 3; n++) await collect(createSendfileStream(path, { keepOpen: false }));
  t.deepEqual(openFiles(), []);
  for (let n = 0; n < 3; n++) await collect(createSendfileStream(path, { fs }));
  t.deepEqual(openFiles(), []);
  t.throws(() => createSendfileStream(path, { keepOpen: 1 as unknown as boolean }), { code: 'ERR_INVALID_ARG_TYPE' });
  keepFilesOpen({ files: 256, maxAgeMs: 1000 });
});
