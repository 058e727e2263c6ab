/** Random programs over mapped files, with `fs` as the oracle: the file and the views agree. */
import { closeSync, fstatSync, ftruncateSync, openSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { syscalls } from '@zerocopy/core-syscalls';
import { type MapAccess, type MappedFile, mapFile, mapFileSync } from '@zerocopy/mmap-buffer';
import fc from 'fast-check';
import { collectGarbage, mapTest, temporaryDirectory } from './harness.js';

const directory = temporaryDirectory();
const page = syscalls.getpagesize();
const RUNS = Number(process.env.ZEROCOPY_PROPERTY_RUNS ?? 150);
const MAX = 6 * page;
let files = 0;

/** A file, what it must hold, and what has been mapped of it. */
interface Model {
  readonly path: string;
  readonly fd: number;
  content: Buffer;
  readonly maps: { mapped: MappedFile; offset: number; access: MapAccess; own: Map<number, number> }[];
}

type Command = fc.AsyncCommand<Model, object>;

const size = fc.integer({ min: 0, max: MAX });
const unit = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });

/** Every mapping shows what the file holds, but for what was stored into a mapping that is not shared. */
function agree({ maps, content, fd }: Model): void {
  const inFile = Buffer.alloc(fstatSync(fd).size);
  readSync(fd, inFile, 0, inFile.length, 0);
  if (!inFile.equals(content)) throw new Error('the file holds something else');
  for (const { mapped, offset, own } of maps) {
    const expected = Buffer.from(content.subarray(offset, offset + mapped.length));
    for (const [at, value] of own) if (at < expected.length) expected[at] = value;
    if (expected.length !== mapped.length)
      throw new Error(`the mapping is of ${mapped.length} bytes, not ${expected.length}`);
    if (!mapped.buffer.equals(expected)) throw new Error('a mapping shows something else');
    if (mapped.truncated) throw new Error('nothing was truncated');
  }
}

/** Pages that this process has its own copy of no longer follow the file. */
function follows(entry: Model['maps'][number], at: number): boolean {
  const start = entry.offset % page;
  for (const stored of entry.own.keys()) {
    if (Math.floor((start + stored) / page) === Math.floor((start + at - entry.offset) / page)) return false;
  }
  return true;
}

function stored(model: Model, at: number, value: number): void {
  const before = model.content[at] as number;
  model.content[at] = value;
  for (const entry of model.maps) {
    const inside = at - entry.offset;
    if (entry.access === 'write' || inside < 0 || inside >= entry.mapped.length || follows(entry, at)) continue;
    if (!entry.own.has(inside)) entry.own.set(inside, before);
  }
}

const command = (
  name: string,
  check: (model: Model) => boolean,
  run: (model: Model) => Promise<void> | void,
): Command => ({
  check,
  async run(model) {
    await run(model);
    agree(model);
  },
  toString: () => name,
});

const any = (): boolean => true;
const mappedAny = (model: Model): boolean => model.maps.length > 0;
const pick = <T>(list: readonly T[], where: number): T => list[Math.floor(where * list.length)] as T;

const commands = [
  fc
    .tuple(
      unit,
      fc.oneof(unit, fc.constant(1)),
      fc.constantFrom<MapAccess>('read', 'write', 'private'),
      fc.boolean(),
      fc.boolean(),
    )
    .map(([from, part, access, sync, populate]) =>
      command(`map(${access}, ${from.toFixed(3)}, ${part.toFixed(3)}${sync ? ', sync' : ''})`, any, async (model) => {
        const offset = Math.floor(from * (model.content.length + 1));
        const length = Math.min(Math.floor(part * (model.content.length - offset + 1)), model.content.length - offset);
        const options = { access, offset, length, populate };
        const mapped = sync ? mapFileSync(model.path, options) : await mapFile(model.path, options);
        model.maps.push({ mapped, offset, access, own: new Map() });
      }),
    ),
  fc.tuple(unit, unit, fc.integer({ min: 0, max: 255 })).map(([which, where, value]) =>
    command(`store(${which.toFixed(3)}, ${where.toFixed(3)}, ${value})`, mappedAny, (model) => {
      const entry = pick(model.maps, which);
      if (entry.mapped.length === 0) return;
      const at = Math.floor(where * entry.mapped.length);
      entry.mapped.buffer[at] = value;
      if (entry.access === 'write') stored(model, entry.offset + at, value);
      else own(model, entry, at, value);
    }),
  ),
  fc.tuple(unit, fc.integer({ min: 0, max: 255 })).map(([where, value]) =>
    command(
      `write(${where.toFixed(3)}, ${value})`,
      (model) => model.content.length > 0,
      (model) => {
        const at = Math.floor(where * model.content.length);
        writeSync(model.fd, Buffer.of(value), 0, 1, at);
        stored(model, at, value);
      },
    ),
  ),
  fc.tuple(unit, unit, unit).map(([which, from, part]) =>
    command('view', mappedAny, (model) => {
      const { mapped } = pick(model.maps, which);
      const offset = Math.floor(from * (mapped.length + 1));
      const length = Math.floor(part * (mapped.length - offset + 1));
      if (!mapped.view(offset, length).equals(mapped.buffer.subarray(offset, offset + length)))
        throw new Error('a view differs');
      if (!Buffer.concat([...mapped.windows(1 + offset)]).equals(mapped.buffer)) throw new Error('the windows differ');
    }),
  ),
  fc.tuple(unit, size).map(([which, length]) =>
    command(`resize(${length})`, mappedAny, async (model) => {
      const { mapped, offset, access } = pick(model.maps, which);
      const atEnd = offset + mapped.length === model.content.length;
      const error = (await mapped.resize(length).catch((reason: unknown) => reason)) as { code?: string } | undefined;
      if (access !== 'write' || !atEnd) {
        if (error?.code !== 'ERR_INVALID_STATE') throw new Error(`resize: ${String(error)}`);
        return;
      }
      if (error !== undefined) throw error;
      const content = Buffer.alloc(offset + length);
      model.content.copy(content);
      const cut = content.length < model.content.length;
      model.content = content;
      if (!cut) return;
      // For the other mappings the file was cut short by somebody else.
      for (const other of model.maps.splice(0)) {
        if (other.mapped === mapped || other.offset + other.mapped.length <= content.length) model.maps.push(other);
        else await other.mapped.close();
      }
    }),
  ),
  fc.tuple(unit, fc.boolean()).map(([which, sync]) =>
    command('flush', mappedAny, async (model) => {
      const { mapped, access } = pick(model.maps, which);
      if (access !== 'write') return;
      if (sync) mapped.flush();
      else await mapped.flushAsync();
    }),
  ),
  unit.map((which) =>
    command('close', mappedAny, async (model) => {
      const index = Math.floor(which * model.maps.length);
      const [entry] = model.maps.splice(index, 1);
      const { mapped } = entry as Model['maps'][number];
      const view = mapped.buffer;
      await mapped.close();
      if (view.some((byte) => byte !== 0)) throw new Error('a closed view shows bytes');
    }),
  ),
  size.map((length) =>
    command(
      `ftruncate(${length})`,
      (model) => model.maps.every(({ offset, mapped }) => offset + mapped.length <= length),
      (model) => {
        ftruncateSync(model.fd, length);
        const content = Buffer.alloc(length);
        model.content.copy(content);
        model.content = content;
      },
    ),
  ),
];

/** A store into a mapping that is not shared: from then on its page is this mapping's own. */
function own({ content }: Model, entry: Model['maps'][number], at: number, value: number): void {
  if (follows(entry, entry.offset + at)) {
    const first = entry.offset % page;
    const start = Math.floor((first + at) / page) * page - first;
    for (let inside = Math.max(0, start); inside < Math.min(start + page, entry.mapped.length); inside++) {
      entry.own.set(inside, content[entry.offset + inside] as number);
    }
  }
  entry.own.set(at, value);
}

mapTest('maps, windows, stores, resizes, flushes, closes in any order', async (t) => {
  await fc.assert(
    fc.asyncProperty(size, fc.commands(commands, { maxCommands: 25 }), async (length, program) => {
      const path = join(directory, `property-${files++}`);
      const content = Buffer.from(Array.from({ length }, (_, at) => (at * 7 + (at >>> 8)) & 0xff));
      writeFileSync(path, content);
      const fd = openSync(path, 'r+');
      const model: Model = { path, fd, content, maps: [] };
      try {
        await fc.asyncModelRun(() => ({ model, real: {} }), program);
      } finally {
        for (const { mapped } of model.maps) await mapped.close();
        closeSync(fd);
      }
    }),
    { numRuns: RUNS, verbose: 1 },
  );
  await collectGarbage();
  t.pass();
});
