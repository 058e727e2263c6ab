/** Reads a file in several ways: one contestant. */
import { createHash } from 'node:crypto';
import { closeSync, createReadStream, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createMmapReadStream, mapFile, mapFileSync } from '@zerocopy/mmap-buffer';
import { answerReports, answerTasks, tell } from './reporting.js';

const [name = '', path = ''] = process.argv.slice(2);
const READ = 4096;
const MiB = 1024 * 1024;
/** The file does not have it. */
const SEARCHED_BYTE = 10;

/** What a contestant can do; what it cannot is left out. */
interface Way {
  /** Copies 4 KiB from there into a Buffer. */
  readonly randomly: () => { read(at: number, into: Buffer): number; close(): unknown };
  /** Opens the file, looks for a byte that is not there, closes it. */
  readonly search: () => unknown;
  readonly openAndClose: () => unknown;
  readonly stream?: () => AsyncIterable<Buffer>;
}

/** As much of the native addon as is used here. */
interface MmapIo {
  readonly PROT_READ: number;
  readonly MAP_SHARED: number;
  map(size: number, protection: number, flags: number, fd: number): Buffer;
}

/** Nothing may be left out by an optimiser. */
let seen = 0;

function ours(guard: 'both' | 'trap'): Way {
  return {
    randomly: () => {
      const mapped = mapFileSync(path, { guard: guard === 'both' ? 'trap' : guard });
      const { buffer } = mapped;
      return { read: (at, into) => buffer.copy(into, 0, at, at + READ), close: () => mapped.close() };
    },
    async search() {
      const mapped = mapFileSync(path);
      seen += mapped.buffer.indexOf(SEARCHED_BYTE);
      await mapped.close();
    },
    openAndClose: async () => (await mapFile(path, { guard })).close(),
    stream: () => createMmapReadStream(path) as AsyncIterable<Buffer>,
  };
}

function mmapIo(): Way {
  const addon = createRequire(import.meta.url)('@riaskov/mmap-io') as MmapIo;
  // The mapping ends when the Buffer is collected; there is no other way to close it.
  const map = (): Buffer => {
    const fd = openSync(path, 'r');
    try {
      return addon.map(fstatSync(fd).size, addon.PROT_READ, addon.MAP_SHARED, fd);
    } finally {
      closeSync(fd);
    }
  };
  return {
    randomly: () => {
      const buffer = map();
      return { read: (at, into) => buffer.copy(into, 0, at, at + READ), close: () => {} };
    },
    search: () => {
      seen += map().indexOf(SEARCHED_BYTE);
    },
    openAndClose: map,
  };
}

const ways: Readonly<Record<string, () => Way>> = {
  node: () => ({
    randomly: () => {
      const fd = openSync(path, 'r');
      return { read: (at, into) => readSync(fd, into, 0, READ, at), close: () => closeSync(fd) };
    },
    search: () => {
      seen += readFileSync(path).indexOf(SEARCHED_BYTE);
    },
    openAndClose: async () => (await open(path)).close(),
    stream: () => createReadStream(path) as AsyncIterable<Buffer>,
  }),
  zerocopy: () => ours('both'),
  'zerocopy-trap': () => ours('trap'),
  'zerocopy-disabled': () => ours('both'),
  'mmap-io': mmapIo,
};
const make = ways[name];
if (make === undefined) throw new RangeError(`no way to read a file is called '${name}'`);
const way = make();
const size = fstatSync(openSync(path, 'r')).size;

/** The same places each time: a generator of pseudo-random numbers (Lehmer's, modulus 2^31 - 1). */
function* places(): Generator<number, never> {
  let state = 42;
  for (;;) {
    state = (state * 48_271) % 0x7fffffff;
    yield Math.floor((state / 0x7fffffff) * (size / READ)) * READ;
  }
}

/** Microseconds of one `work`, done again until the time is over. */
async function timed(milliseconds: number, work: () => unknown): Promise<{ microseconds: number }> {
  const startedAt = performance.now();
  let count = 0;
  do {
    const result = work();
    if (result instanceof Promise) await result;
    count++;
  } while (performance.now() - startedAt < milliseconds);
  return { microseconds: ((performance.now() - startedAt) * 1000) / count };
}

/** Bytes: pages that belong to this process alone, and to no file. */
function anonymousMemory(): number {
  return Number(/^Anonymous:\s+(\d+)/m.exec(readFileSync('/proc/self/smaps_rollup', 'utf8'))?.[1] ?? 0) * 1024;
}

answerReports(() => ({ method: name.startsWith('zerocopy') && name !== 'zerocopy-disabled' ? 'mmap' : 'its own' }));
answerTasks({
  /** Throws unless every byte is read as it was written. */
  async check(sha256) {
    const hash = createHash('sha256');
    const reader = way.randomly();
    for (let at = 0; at < size; at += READ) {
      const target = Buffer.alloc(READ);
      reader.read(at, target);
      hash.update(target);
    }
    await reader.close();
    if (hash.digest('hex') !== sha256) throw new Error('other bytes than the file’s were read');
  },
  async random(milliseconds) {
    const target = Buffer.alloc(READ);
    const reader = way.randomly();
    for (let at = 0; at < size; at += READ) seen += reader.read(at, target); // warm, as the page cache is
    const at = places();
    const BATCH = 1000;
    const { microseconds } = await timed(milliseconds as number, () => {
      for (let n = 0; n < BATCH; n++) seen += reader.read(at.next().value, target);
    });
    await reader.close();
    return { microseconds: microseconds / BATCH };
  },
  search: (milliseconds) => timed(milliseconds as number, way.search),
  async open(milliseconds) {
    await way.openAndClose(); // the first lease starts a thread, which outlives the last by 100 ms
    return timed(milliseconds as number, way.openAndClose);
  },
  async stream() {
    if (way.stream === undefined) throw new Error('it has no streams');
    const before = anonymousMemory();
    let [peak, bytes, next, looking] = [before, 0, 0, 0];
    const startedAt = performance.now();
    for await (const chunk of way.stream()) {
      seen += chunk.indexOf(SEARCHED_BYTE);
      bytes += chunk.length;
      if (bytes < next) continue;
      next = bytes + 4 * MiB;
      const lookedAt = performance.now();
      peak = Math.max(peak, anonymousMemory());
      looking += performance.now() - lookedAt;
    }
    if (bytes !== size) throw new Error(`${bytes} bytes of ${size} came`);
    if (seen === 0) throw new Error('nothing was read');
    return { microseconds: (performance.now() - startedAt - looking) * 1000, anonymous: peak - before };
  },
});
tell({ port: 0 });
