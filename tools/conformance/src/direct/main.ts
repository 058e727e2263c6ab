/**
 * `npm run conformance -- direct [--runs N] [--seed N]`: random reads and writes of a DirectFile, beside a Buffer and node:fs,
 * on every kind of filesystem that can be made here; files that others change meanwhile; one of 5 GiB. Root only, since
 * images are mounted; what cannot be made is said.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { parseArgs } from 'node:util';
import { createDirectReadStream, createDirectWriteStream, openDirect } from '@zerocopy/direct-io';
import { MiB, pattern } from '@zerocopy/testing/bytes';
import { type ImageOptions, MountedImage } from '@zerocopy/testing/mounted-image';
import { comparePositional, type PositionalStep } from '@zerocopy/testing/positional-model';
import fc from 'fast-check';

const { values } = parseArgs({ options: { runs: { type: 'string' }, seed: { type: 'string' } } });
const runs = Number(values.runs ?? 300);
const seed = Number(values.seed ?? Date.now() % 2 ** 31);

const near = (...multiples: number[]): fc.Arbitrary<number> =>
  fc
    .tuple(fc.constantFrom(...multiples), fc.nat({ max: 60 }), fc.integer({ min: -600, max: 600 }))
    .map(([multiple, times, off]) => Math.max(0, multiple * times + off));

const step: fc.Arbitrary<PositionalStep> = fc.record({
  act: fc.constantFrom('read', 'readInto', 'write', 'write', 'write', 'truncate', 'cut by another'),
  position: near(1, 512, 4096, 65_536),
  length: near(1, 512, 4096, 65_536),
  skip: fc.constantFrom(0, 0, 1, 512, 4095),
});

const IMAGES: Readonly<Record<string, ImageOptions>> = {
  ext4: { kind: 'ext4' },
  'ext4, blocks of 1024 bytes': { kind: 'ext4', make: ['-b', '1024'] },
  'ext4, sectors of 4096 bytes': { kind: 'ext4', sector: 4096 },
  xfs: { kind: 'xfs' },
  'xfs, sectors of 4096 bytes': { kind: 'xfs', sector: 4096 },
  'btrfs with checksums': { kind: 'btrfs' },
  'btrfs without': { kind: 'btrfs', mountOptions: 'nodatacow' },
};

let files = 0;

async function positional(directory: string): Promise<string> {
  let method = '';
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 30 }), async (steps) => {
      const path = join(directory, `file-${files++}`);
      const file = await openDirect(path, 'w+');
      method = file.method;
      try {
        await comparePositional(path, file, steps);
      } finally {
        await file.close();
        rmSync(path);
      }
    }),
    { numRuns: runs, seed, verbose: 1 },
  );
  return method;
}

/** Many writes at once to parts that do not overlap, of which the pages do. */
async function atOnce(directory: string): Promise<void> {
  const path = join(directory, `file-${files++}`);
  const file = await openDirect(path, 'w+');
  const content = pattern(4 * MiB);
  for (let round = 0; round < 5; round++) {
    const writes: Promise<number>[] = [];
    for (let at = 0; at < content.length; ) {
      const length = Math.min(content.length - at, 1 + ((at * 7919 + round * 104_729) % 100_000));
      writes.push(file.write(at, content.subarray(at, at + length)));
      at += length;
    }
    await Promise.all(writes);
    if (!readFileSync(path).equals(content)) throw new Error('writes at once: other bytes');
    await file.truncate(0);
  }
  await file.close();
  rmSync(path);
}

/** A stream of a file that another process cuts and makes longer: whole, or with an end, and no byte of something else. */
async function changed(directory: string): Promise<void> {
  const path = join(directory, `file-${files++}`);
  const content = pattern(3 * MiB);
  for (let round = 0; round < 20; round++) {
    writeFileSync(path, content);
    let at = 0;
    for await (const chunk of createDirectReadStream(path, { highWaterMark: 64 * 1024, queueDepth: 1 + (round % 5) })) {
      const bytes = chunk as Buffer;
      if (!bytes.equals(content.subarray(at, at + bytes.length))) throw new Error(`a file that is cut: byte ${at}`);
      at += bytes.length;
      if (at < 2 * MiB) truncateSync(path, content.length - round * 30_000);
    }
  }
  rmSync(path);
}

async function large(directory: string): Promise<void> {
  const path = join(directory, 'large');
  const size = 5 * 2 ** 30 + 777;
  writeFileSync(path, '');
  truncateSync(path, size);
  const file = await openDirect(path, 'r+');
  const marks = [0, 2 ** 31 - 3, 2 ** 32 - 3, size - 5000];
  for (const at of marks) await file.write(at, pattern(5000, at % MiB));
  for (const at of marks) {
    if (!(await file.read(at, 5000)).equals(pattern(5000, at % MiB))) throw new Error(`5 GiB: other bytes at ${at}`);
  }
  await file.close();
  const copy = join(directory, 'copy');
  const start = 2 ** 32 - 100_000;
  await pipeline(createDirectReadStream(path, { start, end: start + 200_000 }), createDirectWriteStream(copy));
  if (statSync(copy).size !== 200_001) throw new Error('5 GiB: a range of another length');
  if (
    !readFileSync(copy)
      .subarray(99_997, 104_997)
      .equals(pattern(5000, (2 ** 32 - 3) % MiB))
  ) {
    throw new Error('5 GiB: a range with other bytes');
  }
  rmSync(path);
  rmSync(copy);
}

async function examine(name: string, directory: string): Promise<void> {
  const startedAt = performance.now();
  const method = await positional(directory);
  await atOnce(directory);
  await changed(directory);
  await large(directory);
  console.log(`${name}: ${method}, ${runs} programs, in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
}

/** The same on an overlay whose layers are in `directory`. */
async function onOverlay(directory: string): Promise<void> {
  const [lower, upper, work, merged] = ['lower', 'upper', 'work', 'merged'].map((name) => {
    const path = join(directory, name);
    mkdirSync(path);
    return path;
  });
  const options = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
  const { status, stderr } = spawnSync('mount', ['-t', 'overlay', '-o', options, 'overlay', merged as string]);
  if (status !== 0) return console.log(`overlayfs on ext4: left out, ${String(stderr).trim()}`);
  try {
    await examine('overlayfs on ext4', merged as string);
  } finally {
    spawnSync('umount', [merged as string]);
  }
}

console.log(`seed ${seed}`);
const temporary = mkdtempSync(join(tmpdir(), 'zerocopy-direct-'));
try {
  await examine('the temporary directory', temporary);
} finally {
  rmSync(temporary, { recursive: true });
}
const memory = mkdtempSync('/dev/shm/zerocopy-direct-');
try {
  await examine('tmpfs', memory);
} finally {
  rmSync(memory, { recursive: true });
}
for (const [name, options] of Object.entries(IMAGES)) {
  const image = MountedImage.mount(options);
  if (typeof image === 'string') {
    console.log(`${name}: left out, ${image}`);
    continue;
  }
  try {
    await examine(name, image.directory);
    if (name === 'ext4') await onOverlay(image.directory);
  } finally {
    image.unmount();
  }
}
