/** Files as memory, memory between threads, and leases: mmap-buffer, lease-guard. */
import { once } from 'node:events';
import { closeSync, constants, openSync, readFileSync, statSync, writeSync } from 'node:fs';
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
  SharedBufferPool,
} from '@zerocopy/mmap-buffer';
import { MiB } from '@zerocopy/testing/bytes';
import { makeFile, temporaryDirectory } from '@zerocopy/testing/files';
import { withResolvers } from '@zerocopy/testing/sockets';
import type { PoolAnswer, PoolRequest } from './pool-peer.worker.js';
import { closing, contentOf, type Stage } from './stage.js';
import type { Told, Way } from './way.js';

let keeper: Promise<Lease> | undefined;

/** Keeps the thread that answers for leases from ending, and starting again, between two runs. */
function keepLeaseThread(): Promise<Lease> {
  keeper ??= acquireLease(makeFile(temporaryDirectory(), ''), 'read');
  return keeper;
}

/** What brings bytes into this process's memory, or fails: of a failure none are shown, since none are counted. */
const remembering = (
  name: string,
  work: (stage: Stage) => Promise<readonly [received: Buffer, method?: string]>,
  more: Partial<Way> = {},
): Way => ({
  name,
  background: { direct: true },
  async begin(stage) {
    let received = Buffer.alloc(0);
    stage.receiveLast(() => received);
    const over = work(stage).then(
      ([bytes, method]): readonly Told[] => {
        received = bytes as Buffer<ArrayBuffer>;
        return [{ method }];
      },
      (error: NodeJS.ErrnoException): readonly Told[] => [{ error }],
    );
    return { over };
  },
  ...more,
});

// Mappings.

/** Uses a mapped file, and closes it, whatever happens. */
const mapping = (
  name: string,
  map: (stage: Stage) => Promise<readonly [file: MappedFile, path: string]>,
  use: (file: MappedFile, path: string, stage: Stage) => Promise<Buffer> | Buffer,
  more: Partial<Way> = {},
): Way =>
  remembering(
    name,
    async (stage) => {
      const [file, path] = await map(stage);
      try {
        const received = await use(file, path, stage);
        await file.close();
        return [received, file.method];
      } catch (failure) {
        await file.close().catch(() => {}); // what failed first is told
        throw failure;
      }
    },
    { needs: ['mmap'], ...more },
  );

const mapped =
  (options: MapOptions, makeFileOf: (stage: Stage) => string = (stage) => stage.file()) =>
  async (stage: Stage): Promise<readonly [MappedFile, string]> => {
    const path = makeFileOf(stage);
    if (options.guard !== 'trap') await keepLeaseThread();
    return [await mapFile(path, stage.options(options)), path];
  };

const copyOf = (file: MappedFile): Buffer => Buffer.from(file.buffer);
/** A file of zeros as long as the content. */
const blank = (stage: Stage): string => stage.file('warm', Buffer.alloc(stage.content.length));

/** The size of a file of which a resize has failed is what it was, and so is the length of its mapping. */
async function resized(file: MappedFile, path: string, length: number): Promise<void> {
  const before = { size: statSync(path).size, length: file.length }; // not the same, where only a part is mapped
  try {
    await file.resize(length);
  } catch (failure) {
    const { size } = statSync(path);
    const { message } = failure as Error;
    if (/could not be cut back|has become/.test(message)) throw failure; // undoing it has failed, too, and it says so
    if (size !== before.size) throw new Error(`resize failed (${message}), and left ${size} bytes of ${before.size}`);
    if (file.length !== before.length)
      throw new Error(`resize failed (${message}), and the mapping has ${file.length} bytes of ${before.length}`);
    throw failure;
  }
}

/** @param from bytes at first; the content's are reached by growing, in place or by moving, and by shrinking. */
const resizing = (name: string, from: number, lengths: (total: number) => readonly number[], more = {}): Way =>
  mapping(
    name,
    mapped({ access: 'write' }, (stage) => stage.file('warm', stage.content.subarray(0, from))),
    async (file, path, { content }) => {
      for (const length of lengths(content.length)) await resized(file, path, length);
      content.copy(file.buffer);
      file.flush();
      return readFileSync(path);
    },
    more,
  );

const windows = mapping('views and windows of a mapping', mapped({ guard: 'trap' }), async (file) => {
  const half = Math.floor(file.length / 2);
  file.advise('sequential');
  await file.populate({ offset: 0, length: half });
  const { pages, residentPages } = file.residency();
  if (residentPages > pages) throw new Error(`${residentPages} of ${pages} pages are in memory`);
  await file.lock({ offset: 0, length: 4096 });
  file.unlock({ offset: 0, length: 4096 });
  const [first, ...others] = [file.view(0, half), ...file.windows(100_000)].map((part) => Buffer.from(part));
  const all = Buffer.concat(others);
  if (!first?.equals(all.subarray(0, half))) throw new Error('a view and the windows differ');
  return all;
});

/** Closed in the midst of everything that it does by other threads. */
const closedEarly: Way = {
  name: 'mapFile, resized and flushed',
  background: { direct: true },
  needs: ['mmap', 'sigbusTrap'],
  victims: ['mapping'],
  async begin(stage) {
    const path = stage.file();
    const file = await mapFile(path, { access: 'write' }).catch((error: NodeJS.ErrnoException) => error);
    if (file instanceof Error) {
      stage.receiveLast(() => Buffer.alloc(0));
      return { over: Promise.resolve([{ error: file }]) };
    }
    stage.fds.push(...stage.numbersOf(path));
    const close = (): Promise<void> => file.close().catch(() => {});
    stage.victim('mapping', close);
    stage.onDispose(close);
    const { length } = stage.content;
    stage.receiveFile(path, () => readFileSync(path).subarray(0, length));
    const all = [file.flushAsync(), file.resize(2 * length), file.flushAsync()];
    const over = Promise.allSettled(all).then((results): readonly Told[] => {
      const failed = results.find((result) => result.status === 'rejected');
      return [failed === undefined ? {} : { error: failed.reason }];
    });
    return { over, moving: () => true };
  },
};

// Streams.

/** Where the content starts, so that it lies in more than one of the windows that the stream maps. */
const START = 2 * MiB - 300_000;

function deepFile(stage: Stage): string {
  const path = stage.path();
  const fd = openSync(path, 'w');
  writeSync(fd, stage.content, 0, stage.content.length, START);
  closeSync(fd);
  return path;
}

/** The stream counts what has been read and not what has arrived, as Node's do: a failed one's count is not compared. */
const streaming = (name: string, to: (stage: Stage) => Promise<Writable> | Writable, more: Partial<Way> = {}): Way => ({
  name,
  background: { direct: true },
  async begin(stage) {
    const path = deepFile(stage);
    const destination = await to(stage);
    const source = createMmapReadStream(path, stage.options({ start: START, highWaterMark: 64 * 1024 }));
    const over = pipeline(source, destination)
      .then(
        (): Told => ({ bytes: source.bytesRead, method: source.method }),
        (error: NodeJS.ErrnoException): Told => ({ error, method: source.method }),
      )
      .then(async (told): Promise<readonly Told[]> => {
        await closing(source);
        return [told];
      });
    return { over };
  },
  ...more,
});

/** Over what is its user's. */
const streamingLent = (by: 'number' | 'FileHandle'): Way => ({
  name: `createMmapReadStream over a ${by}`,
  background: { direct: true },
  needs: ['mmap', 'sigbusTrap'],
  victims: [by === 'number' ? 'numbers' : 'handle r'],
  async begin(stage) {
    const path = stage.file();
    const fd = by === 'number' ? stage.lend(path, 'r') : await stage.handle(path, 'r');
    const source = createMmapReadStream('', { fd, start: 0, autoClose: false, highWaterMark: 64 * 1024 });
    // Not destroyed in the end: that would close what is its user's.
    const { promise, resolve } = withResolvers<NodeJS.ErrnoException | undefined>();
    source.on('error', resolve);
    for (const event of ['end', 'close']) source.once(event, () => resolve(undefined));
    const begun = await once(source, 'readable').then(
      () => true,
      () => false,
    ); // by then it has mapped the first window
    if (!begun) stage.receiveLast(() => Buffer.alloc(0));
    else {
      stage.receive(
        source,
        () => 0,
        () => {},
      );
    }
    const over = promise.then((error): readonly Told[] => [{ error, method: source.method }]);
    return { over, moving: () => true };
  },
});

// Memory that two threads share.

let poolPeer: Worker | undefined;
let lastAnswer: Promise<unknown> = Promise.resolve();

/** The other thread: undisturbed, and there for as long as the process. It is asked one thing after the other. */
function askPeer(request: PoolRequest): Promise<PoolAnswer> {
  if (poolPeer === undefined) {
    poolPeer = new Worker(new URL('./pool-peer.worker.js', import.meta.url), { trackUnmanagedFds: false });
    poolPeer.unref();
  }
  const peer = poolPeer;
  const answered = lastAnswer.then(async () => {
    peer.postMessage(request);
    const [answer] = (await once(peer, 'message')) as [PoolAnswer];
    return answer;
  });
  lastAnswer = answered;
  return answered;
}

const BUFFERS = 4;
const bufferSizeOf = (content: Buffer): number => Math.ceil(content.length / BUFFERS);

function closeQuietly(pool: SharedBufferPool | undefined): void {
  try {
    pool?.close();
  } catch {} // what failed first is told
}

const poolMade = remembering(
  'SharedBufferPool, filled for another thread',
  async ({ content }) => {
    await askPeer({ kind: 'hello' });
    let pool: SharedBufferPool | undefined;
    try {
      const bufferSize = bufferSizeOf(content);
      pool = new SharedBufferPool({ bufferSize, count: BUFFERS });
      const handles = [];
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
      return [Buffer.from(answer.bytes).subarray(0, content.length)];
    } catch (failure) {
      closeQuietly(pool);
      throw failure;
    }
  },
  { needs: ['mmap', 'memfdSeals'] },
);

const poolOpened = remembering(
  'SharedBufferPool, opened from another thread',
  async ({ content }) => {
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
      return [Buffer.concat(parts).subarray(0, content.length)];
    } catch (failure) {
      closeQuietly(pool);
      throw failure;
    } finally {
      await askPeer({ kind: 'close' });
    }
  },
  { needs: ['mmap', 'memfdSeals'] },
);

// Leases.

/** The release of a lease was told: then nobody has to wait for the file. */
function assertWritable(path: string): void {
  try {
    closeSync(openSync(path, constants.O_RDWR | constants.O_NONBLOCK));
  } catch (failure) {
    throw new Error(`the lease was released, and the file cannot be written to: ${(failure as Error).message}`);
  }
}

/** Takes a lease on a file, uses it, reads beside it, and gives it up. */
const leasing = (
  name: string,
  type: 'read' | 'write',
  targetOf: (stage: Stage, path: string) => LeaseTarget,
  use: (lease: Lease) => void | Promise<void>,
): Way =>
  remembering(
    name,
    async (stage) => {
      await keepLeaseThread();
      const path = stage.file();
      let lease: Lease | undefined;
      try {
        lease = await acquireLease(targetOf(stage, path), type);
        await use(lease);
        const content = contentOf(lease.fd);
        await lease.release();
        assertWritable(path);
        return [content];
      } catch (failure) {
        await lease?.release().catch(() => {}); // what failed first is told
        throw failure;
      }
    },
    { needs: ['lease'] },
  );

const leaseBroken = remembering(
  'a lease that is broken by a writer',
  async (stage) => {
    await keepLeaseThread();
    const path = stage.file();
    const lease = await acquireLease(path, 'read');
    const released = once(lease, 'release');
    try {
      closeSync(openSync(path, constants.O_RDWR | constants.O_NONBLOCK));
    } catch {} // it has to wait, and does not: the lease is being broken
    const alive = setInterval(() => {}, 1000); // a lease keeps no process alive
    await released.finally(() => clearInterval(alive));
    return [readFileSync(path)];
  },
  { needs: ['lease'] },
);

const TRAP = { guard: 'trap' } as const;
const NO_MAPPING: Partial<Way> = { background: { absent: ['mmap'], direct: true }, needs: [] };
const toNodeFile = (stage: Stage): Writable => stage.nodeFileDestination();

export const memoryWays: readonly Way[] = [
  mapping('mapFile with a trap', mapped({ ...TRAP, populate: true }), copyOf),
  mapping('mapFile with a lease', mapped({ guard: 'lease' }), copyOf),
  mapping('mapFile with both', mapped({ guard: 'both' }), copyOf),
  mapping(
    'mapFileSync',
    async (stage) => {
      const path = stage.file();
      return [mapFileSync(path, stage.options({ populate: true })), path];
    },
    copyOf,
  ),
  mapping('mapFile where nothing can be mapped', mapped(TRAP), copyOf, NO_MAPPING),
  mapping(
    'mapFile for writing, flushed both ways',
    mapped({ access: 'write' }, blank),
    async (file, path, { content }) => {
      content.copy(file.buffer);
      await file.flushAsync();
      file.flush({ offset: 0, length: 4096 });
      return readFileSync(path);
    },
  ),
  mapping(
    'mapFile for private stores',
    mapped({ access: 'private', hugePages: true }, blank),
    (file, path, { content }) => {
      content.copy(file.buffer);
      if (!readFileSync(path).equals(Buffer.alloc(content.length))) throw new Error('the stores went to the file');
      return copyOf(file);
    },
  ),
  remembering(
    'mapFile, forgotten instead of closed',
    async (stage) => {
      const file = await mapFile(stage.file(), stage.options(TRAP));
      return [copyOf(file), file.method];
    },
    { needs: ['mmap'] },
  ),
  resizing('resize: grown and shrunk in place', 1000, (total) => [2 * total, total]),
  resizing('resize: grown beyond what was reserved', 0, (total) => [70 * MiB, total]),
  resizing('resize: grown where there is no fallocate', 1000, (total) => [total], {
    background: { absent: ['fallocate'], direct: true },
  }),
  windows,
  closedEarly,
  streaming('createMmapReadStream to a socket', (stage) => stage.socketDestination('tcp')),
  streaming('createMmapReadStream to a file', toNodeFile),
  streaming('createMmapReadStream where nothing can be mapped', toNodeFile, NO_MAPPING),
  streamingLent('number'),
  streamingLent('FileHandle'),
  poolMade,
  poolOpened,
  leasing(
    'a lease on a path, downgraded',
    'write',
    (_stage, path) => path,
    (lease) => lease.downgrade(),
  ),
  leasing(
    'a lease on a descriptor',
    'read',
    (stage, path) => stage.lend(path, 'r'),
    () => {},
  ),
  leaseBroken,
];
