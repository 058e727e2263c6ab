/** Files as memory, memory between threads, and leases: mmap-buffer, lease-guard, and a file sent under a lease. */
import { once } from 'node:events';
import {
  closeSync,
  constants,
  createWriteStream,
  fstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Worker } from 'node:worker_threads';
import { acquireLease, type Lease, type LeaseTarget } from '@zerocopy/lease-guard';
import {
  createMmapReadStream,
  type MapOptions,
  type MappedFile,
  mapFile,
  mapFileSync,
  type SharedBufferHandle,
  SharedBufferPool,
} from '@zerocopy/mmap-buffer';
import { sendFile } from '@zerocopy/sendfile-stream';
import { arrival, withPair } from './peers.js';
import type { PoolAnswer, PoolRequest } from './pool-peer.worker.js';
import { prepare, sourceOf, told } from './send.js';
import type { Delivery, Setting, Traffic } from './traffic.js';

const MiB = 1024 * 1024;
const direct = { direct: true } as const;

/** A failure of what counts no bytes: none are shown either. */
const failed = (failure: unknown): readonly Delivery[] => [
  { received: Buffer.alloc(0), error: failure as NodeJS.ErrnoException, bytes: 0 },
];

const whole = (received: Buffer, method?: string): readonly Delivery[] => [
  { received, bytes: received.length, method },
];

let keeper: Promise<Lease> | undefined;

/** Keeps the thread that answers for leases from ending, and starting again, between two runs. */
function keepLeaseThread(): Promise<Lease> {
  keeper ??= (async () => {
    const directory = mkdtempSync(join(tmpdir(), 'zerocopy-keeper-'));
    process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
    writeFileSync(join(directory, 'file'), '');
    return acquireLease(join(directory, 'file'), 'read');
  })();
  return keeper;
}

/** Uses a mapped file, and closes it, whatever happens. */
async function withMapping(
  opened: Promise<MappedFile> | (() => MappedFile),
  use: (file: MappedFile) => Promise<Buffer> | Buffer,
): Promise<readonly Delivery[]> {
  let file: MappedFile | undefined;
  try {
    file = await (typeof opened === 'function' ? opened() : opened);
    const { method } = file;
    const received = await use(file);
    await file.close();
    return whole(received, method);
  } catch (failure) {
    await file?.close().catch(() => {}); // what failed first is told
    return failed(failure);
  }
}

const reading = (name: string, options: MapOptions): Traffic => ({
  name,
  background: direct,
  prepare,
  async run(setting) {
    if (options.guard !== 'trap') await keepLeaseThread();
    return withMapping(mapFile(sourceOf(setting), options), (file) => Buffer.from(file.buffer));
  },
});

const readingAtOnce: Traffic = {
  name: 'mapFileSync',
  background: direct,
  prepare,
  run: (setting) => {
    const path = sourceOf(setting);
    return withMapping(
      () => mapFileSync(path, { populate: true }),
      (file) => Buffer.from(file.buffer),
    );
  },
};

/** A file of zeros as long as the content. */
function blankOf({ directory, content }: Setting): string {
  const path = join(directory, 'blank');
  writeFileSync(path, Buffer.alloc(content.length));
  return path;
}

const writing: Traffic = {
  name: 'mapFile for writing, flushed both ways',
  background: direct,
  run(setting) {
    const path = blankOf(setting);
    const { content } = setting;
    return withMapping(mapFile(path, { access: 'write' }), async (file) => {
      content.copy(file.buffer);
      await file.flushAsync();
      file.flush({ offset: 0, length: 4096 });
      return readFileSync(path);
    });
  },
};

const privately: Traffic = {
  name: 'mapFile for private stores',
  background: direct,
  async run(setting) {
    const path = blankOf(setting);
    const deliveries = await withMapping(mapFile(path, { access: 'private', hugePages: true }), (file) => {
      setting.content.copy(file.buffer);
      return Buffer.from(file.buffer);
    });
    if (!readFileSync(path).equals(Buffer.alloc(setting.content.length)))
      throw new Error('the stores went to the file');
    return deliveries;
  },
};

/** The size of a file of which a resize has failed is what it was, and so is what its mapping shows. */
async function resized(file: MappedFile, path: string, length: number): Promise<void> {
  const before = statSync(path).size;
  try {
    await file.resize(length);
  } catch (error) {
    const { size } = statSync(path);
    const { message } = error as Error;
    if (/could not be cut back|has become/.test(message)) throw error; // undoing it has failed, too, and it says so
    if (size !== before)
      throw new Error(`resize failed (${(error as Error).message}), and left ${size} bytes of ${before}`);
    if (file.length !== before) throw new Error(`resize failed, and the mapping has ${file.length} bytes of ${before}`);
    throw error;
  }
}

/** @param from bytes at first; the content's are reached by growing, in place or by moving, and by shrinking. */
const resizing = (name: string, from: number, ways: (total: number) => readonly number[]): Traffic => ({
  name,
  background: direct,
  run(setting) {
    const path = join(setting.directory, 'growing');
    const { content } = setting;
    writeFileSync(path, content.subarray(0, from));
    return withMapping(mapFile(path, { access: 'write' }), async (file) => {
      for (const length of ways(content.length)) await resized(file, path, length);
      content.copy(file.buffer);
      file.flush();
      return readFileSync(path);
    });
  },
});

const windows: Traffic = {
  name: 'views and windows of a mapping',
  background: direct,
  prepare,
  run: (setting) =>
    withMapping(mapFile(sourceOf(setting), { guard: 'trap' }), async (file) => {
      const half = Math.floor(file.length / 2);
      file.advise('sequential');
      await file.populate({ offset: 0, length: half });
      const { pages, residentPages } = file.residency();
      if (residentPages > pages) throw new Error(`${residentPages} of ${pages} pages are in memory`);
      await file.lock({ offset: 0, length: 4096 });
      file.unlock({ offset: 0, length: 4096 });
      const parts = [file.view(0, half)];
      for (const window of file.windows(100_000)) parts.push(window);
      const [first, ...others] = parts.map((part) => Buffer.from(part)) as [Buffer, ...Buffer[]];
      const all = Buffer.concat(others);
      if (!first.equals(all.subarray(0, half))) throw new Error('a view and the windows differ');
      return all;
    }),
};

/** Where the content starts, so that it lies in more than one of the windows that the stream maps. */
const START = 2 * MiB - 300_000;

function deepSource({ directory, content }: Setting): string {
  const path = join(directory, 'deep');
  const fd = openSync(path, 'w');
  writeSync(fd, content, 0, content.length, START);
  closeSync(fd);
  return path;
}

/** Streams count what has been read and not what has arrived, as Node's do: what has arrived is the beginning of it. */
async function streamed(path: string, destination: Writable, arrived: () => Promise<Buffer>) {
  const source = createMmapReadStream(path, { start: START, highWaterMark: 64 * 1024 });
  const closed = once(source, 'close').catch(() => {});
  let error: NodeJS.ErrnoException | undefined;
  try {
    await pipeline(source, destination);
  } catch (failure) {
    error = failure as NodeJS.ErrnoException;
  }
  await closed;
  const received = await arrived();
  return [{ received, error, bytes: error === undefined ? source.bytesRead : received.length, method: source.method }];
}

const streamToSocket: Traffic = {
  name: 'createMmapReadStream to a socket',
  background: direct,
  run: (setting) =>
    withPair('tcp', ({ server, client }) => {
      const received = arrival(client);
      return streamed(deepSource(setting), server, () => received);
    }),
};

const streamToFile: Traffic = {
  name: 'createMmapReadStream to a file',
  background: direct,
  async run(setting) {
    const target = join(setting.directory, 'target');
    const destination = createWriteStream(target);
    const closed = once(destination, 'close').catch(() => {});
    return streamed(deepSource(setting), destination, async () => {
      await closed;
      return readFileSync(target, { flag: 'a+' });
    });
  },
};

let poolPeer: Worker | undefined;

/** The other thread: undisturbed, and there for as long as the process. */
async function askPeer(request: PoolRequest): Promise<PoolAnswer> {
  if (poolPeer === undefined) {
    poolPeer = new Worker(new URL('./pool-peer.worker.js', import.meta.url), { trackUnmanagedFds: false });
    poolPeer.unref();
  }
  poolPeer.postMessage(request);
  const [answer] = (await once(poolPeer, 'message')) as [PoolAnswer];
  return answer;
}

const BUFFERS = 4;
const bufferSizeOf = (content: Buffer): number => Math.ceil(content.length / BUFFERS);

/** What the buffers show together. */
const joined = (parts: readonly Buffer[], length: number): Buffer => Buffer.concat(parts).subarray(0, length);

const poolMade: Traffic = {
  name: 'SharedBufferPool, filled for another thread',
  background: direct,
  async run({ content }) {
    await askPeer({ kind: 'hello' });
    let pool: SharedBufferPool | undefined;
    try {
      const bufferSize = bufferSizeOf(content);
      pool = new SharedBufferPool({ bufferSize, count: BUFFERS });
      const handles: SharedBufferHandle[] = [];
      for (let at = 0; at < content.length; at += bufferSize) {
        const shared = pool.acquire();
        if (shared === undefined) throw new Error('the pool has no buffer');
        content.copy(shared.buffer, 0, at, at + bufferSize);
        handles.push(shared.share());
        pool.release(shared);
      }
      const answer = await askPeer({ kind: 'read', fd: pool.fd, handles });
      if (answer.kind !== 'bytes') throw new Error(`the other thread answered ${answer.kind}`);
      if (pool.available !== BUFFERS) throw new Error(`${pool.available} of ${BUFFERS} buffers are free afterwards`);
      pool.close();
      return whole(joined([Buffer.from(answer.bytes)], content.length));
    } catch (failure) {
      closeQuietly(pool);
      return failed(failure);
    }
  },
};

const poolOpened: Traffic = {
  name: 'SharedBufferPool, opened from another thread',
  background: direct,
  async run({ content }) {
    const answer = await askPeer({ kind: 'fill', bufferSize: bufferSizeOf(content), count: BUFFERS, content });
    if (answer.kind !== 'filled') throw new Error(`the other thread answered ${answer.kind}`);
    let pool: SharedBufferPool | undefined;
    try {
      pool = SharedBufferPool.open(answer.fd);
      const parts: Buffer[] = [];
      for (const handle of answer.handles) {
        using shared = pool.open(handle);
        parts.push(Buffer.from(shared.buffer));
      }
      pool.reclaim();
      pool.close();
      return whole(joined(parts, content.length));
    } catch (failure) {
      closeQuietly(pool);
      return failed(failure);
    } finally {
      await askPeer({ kind: 'close' });
    }
  },
};

function closeQuietly(pool: SharedBufferPool | undefined): void {
  try {
    pool?.close();
  } catch {} // what failed first is told
}

/** All of an open file, read beside a lease. */
function readWhole(fd: number): Buffer {
  const content = Buffer.alloc(fstatSync(fd).size);
  readSync(fd, content, 0, content.length, 0);
  return content;
}

/** The release of a lease was told: then nobody has to wait for the file. */
function assertWritable(path: string): void {
  try {
    closeSync(openSync(path, constants.O_RDWR | constants.O_NONBLOCK));
  } catch (error) {
    throw new Error(`the lease was released, and the file cannot be written to: ${(error as Error).message}`);
  }
}

/** Takes a lease on the source, uses it, and gives it up. */
async function withLease(
  setting: Setting,
  target: LeaseTarget,
  type: 'read' | 'write',
  use: (lease: Lease) => void | Promise<void>,
) {
  let lease: Lease | undefined;
  try {
    lease = await acquireLease(target, type);
    await use(lease);
    const content = readWhole(lease.fd);
    await lease.release();
    assertWritable(sourceOf(setting));
    return whole(content);
  } catch (failure) {
    await lease?.release().catch(() => {}); // what failed first is told
    return failed(failure);
  }
}

const leaseOnPath: Traffic = {
  name: 'a lease on a path, downgraded',
  background: direct,
  prepare,
  async run(setting) {
    await keepLeaseThread();
    return withLease(setting, sourceOf(setting), 'write', (lease) => lease.downgrade());
  },
};

const leaseOnDescriptor: Traffic = {
  name: 'a lease on a descriptor',
  background: direct,
  prepare,
  async run(setting) {
    await keepLeaseThread();
    const fd = openSync(sourceOf(setting), 'r');
    try {
      return await withLease(setting, fd, 'read', () => {});
    } finally {
      closeSync(fd);
    }
  },
};

const sendLeased: Traffic = {
  name: 'sendFile under a lease',
  background: direct,
  prepare,
  async run(setting) {
    await keepLeaseThread();
    const path = sourceOf(setting);
    return withPair('tcp', async ({ server, client }) => {
      const received = arrival(client);
      const result = await told(sendFile(server, path, { smallFileSize: 0, lease: true }));
      server.end();
      return [{ ...result, received: await received }];
    });
  },
};

export const memoryTraffic: readonly Traffic[] = [
  reading('mapFile with a trap', { guard: 'trap', populate: true }),
  reading('mapFile with a lease', { guard: 'lease' }),
  reading('mapFile with both', { guard: 'both' }),
  readingAtOnce,
  {
    ...reading('mapFile where nothing can be mapped', { guard: 'trap' }),
    background: { absent: ['mmap'], direct: true },
  },
  writing,
  privately,
  resizing('resize: grown and shrunk in place', 1000, (total) => [2 * total, total]),
  resizing('resize: grown beyond what was reserved', 0, (total) => [70 * MiB, total]),
  {
    ...resizing('resize: grown where there is no fallocate', 1000, (total) => [total]),
    background: { absent: ['fallocate'], direct: true },
  },
  windows,
  streamToSocket,
  streamToFile,
  {
    ...streamToFile,
    name: 'createMmapReadStream where nothing can be mapped',
    background: { absent: ['mmap'], direct: true },
  },
  poolMade,
  poolOpened,
  leaseOnPath,
  leaseOnDescriptor,
  sendLeased,
];
