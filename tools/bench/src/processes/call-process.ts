/** Makes one call over and over: one contestant. */
import { closeSync, openSync, readSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { syscalls } from '@zerocopy/core-syscalls';
import { answerReports, answerTasks, tell } from './reporting.js';

interface Way {
  /** pread(2) of one byte. */
  readonly read: (fd: number, into: Buffer) => number;
  /** A call that does next to nothing on the thread pool. */
  readonly onThePool: (path: string, into: Buffer) => Promise<{ one: () => Promise<unknown>; close: () => unknown }>;
}

const [name = '', path = ''] = process.argv.slice(2);

function bare(): Way {
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
  const libc = koffi.load(null);
  const pread = libc.func('int64_t pread(int fd, _Out_ uint8_t *buf, size_t count, int64_t offset)');
  const lseek = libc.func('int64_t lseek(int fd, int64_t offset, int whence)');
  return {
    read: (fd, into) => pread(fd, into, 1, 0) as number,
    async onThePool(file) {
      const fd = openSync(file, 'r');
      return {
        one: () => new Promise((resolve) => lseek.async(fd, 0, 0, resolve)),
        close: () => closeSync(fd),
      };
    },
  };
}

const ways: Readonly<Record<string, () => Way>> = {
  node: () => ({
    read: (fd, into) => readSync(fd, into, 0, 1, 0),
    async onThePool(file, into) {
      const handle = await open(file);
      return { one: () => handle.read(into, 0, 1, 0), close: () => handle.close() };
    },
  }),
  zerocopy: () => ({
    read: (fd, into) => syscalls.pread(fd, into, 1, 0),
    async onThePool(file) {
      const fd = openSync(file, 'r');
      return {
        one: () => new Promise((resolve) => syscalls.lseekAsync(fd, 0, 0, resolve)),
        close: () => closeSync(fd),
      };
    },
  }),
  floor: bare,
};
const make = ways[name];
if (make === undefined) throw new RangeError(`no way to make a call is called '${name}'`);
const way = make();
const BATCH = 1024;
const AT_ONCE = 16;

async function perCall(milliseconds: number, batch: () => unknown): Promise<{ nanoseconds: number }> {
  const startedAt = performance.now();
  let calls = 0;
  do {
    await batch();
    calls += BATCH;
  } while (performance.now() - startedAt < milliseconds);
  return { nanoseconds: ((performance.now() - startedAt) * 1e6) / calls };
}

answerReports(() => ({ method: 'pread' }));
answerTasks({
  check() {
    const fd = openSync(path, 'r');
    const into = Buffer.alloc(1);
    const read = way.read(fd, into);
    closeSync(fd);
    if (read !== 1 || into[0] !== 0x7a) throw new Error(`${read} bytes were read, the first is ${into[0]}`);
  },
  async sync(milliseconds) {
    const fd = openSync(path, 'r');
    const into = Buffer.alloc(1);
    const result = await perCall(milliseconds as number, () => {
      for (let n = 0; n < BATCH; n++) way.read(fd, into);
    });
    closeSync(fd);
    return result;
  },
  async async(milliseconds) {
    const reader = await way.onThePool(path, Buffer.alloc(1));
    const result = await perCall(milliseconds as number, async () => {
      for (let n = 0; n < BATCH; n += AT_ONCE) await Promise.all(Array.from({ length: AT_ONCE }, reader.one));
    });
    await reader.close();
    return result;
  },
});
tell({ port: 0 });
