/** Files as memory, by mmap-buffer: read, written to, grown and shrunk. */
import { readFileSync, statSync } from 'node:fs';
import { type MapOptions, type MappedFile, mapFile, mapFileSync } from '@zerocopy/mmap-buffer';
import { MiB } from '@zerocopy/testing/bytes';
import { numbersOf } from './files.js';
import { keepLeaseThread } from './lease.js';
import { NO_MAPPING, remembering } from './remembering.js';
import type { Stage } from './stage.js';
import type { Told, Way } from './way.js';

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
    stage.fds.push(...numbersOf(path));
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

const TRAP = { guard: 'trap' } as const;

/**
 * Left to the garbage collector. Not of the catalogue, whose loops look at what is held as soon as a way is over: when it is
 * collected nobody can say.
 */
export const forgotten: Way = remembering(
  'mapFile, forgotten instead of closed',
  async (stage) => {
    const file = await mapFile(stage.file(), stage.options(TRAP));
    return [copyOf(file), file.method];
  },
  { needs: ['mmap'] },
);

export const mapWays: readonly Way[] = [
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
  resizing('resize: grown and shrunk in place', 1000, (total) => [2 * total, total]),
  resizing('resize: grown beyond what was reserved', 0, (total) => [70 * MiB, total]),
  resizing('resize: grown where there is no fallocate', 1000, (total) => [total], {
    background: { absent: ['fallocate'], direct: true },
  }),
  windows,
  closedEarly,
];
