/** `npm run bench:mmap`: mapped files against reading them. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { mapFile, mapFileSync } from '@zerocopy/mmap-buffer';
import type { StreamReport } from './mmap-process.js';
import { Samples, tableOf } from './samples.js';

const MiB = 1024 * 1024;
const SIZE = 256 * MiB;
const STREAMED = 1024 * MiB;
const READ = 4096;
const READS = 100_000;
const OPENS = 2000;

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '5' }, directory: { type: 'string', default: tmpdir() } },
});
const rounds = Number(values.rounds);
const directory = mkdtempSync(join(values.directory, 'zerocopy-mmap-bench-'));
const path = join(directory, 'file');
const large = join(directory, 'large');
const node = { name: 'node:fs', samples: new Samples() };
const ours = { name: 'mmap-buffer', samples: new Samples() };

function fill(name: string, size: number): void {
  const fd = openSync(name, 'w');
  const chunk = Buffer.alloc(MiB, 'x');
  for (let at = 0; at < size; at += MiB) writeSync(fd, chunk);
  closeSync(fd);
}

/** The same places each time: a generator of pseudo-random numbers (Lehmer's, modulus 2^31 - 1). */
function* places(): Generator<number> {
  let state = 42;
  for (;;) {
    state = (state * 48_271) % 0x7fffffff;
    yield Math.floor((state / 0x7fffffff) * (SIZE / READ)) * READ;
  }
}

const nanoseconds = (startedAt: number, count: number): number => ((performance.now() - startedAt) * 1e6) / count;

async function timed(
  samples: Samples,
  key: string,
  count: number,
  work: () => unknown,
  counted: boolean,
): Promise<void> {
  const startedAt = performance.now();
  await work();
  if (counted) samples.add(key, nanoseconds(startedAt, count) / 1000);
}

/** Nothing may be left out by an optimiser. */
let seen = 0;

async function round(counted: boolean): Promise<void> {
  const target = Buffer.alloc(READ);
  const random = 'a random read of 4 KiB into a Buffer, µs';
  const fd = openSync(path, 'r');
  const fromFd = places();
  await timed(
    node.samples,
    random,
    READS,
    () => {
      for (let n = 0; n < READS; n++) seen += readSync(fd, target, 0, READ, fromFd.next().value as number);
    },
    counted,
  );
  closeSync(fd);
  const mapped = mapFileSync(path);
  const { buffer } = mapped;
  for (let at = 0; at < SIZE; at += READ) seen += buffer[at] as number; // warm, as the page cache is
  const fromMapping = places();
  await timed(
    ours.samples,
    random,
    READS,
    () => {
      for (let n = 0; n < READS; n++) {
        const at = fromMapping.next().value as number;
        seen += buffer.copy(target, 0, at, at + READ);
      }
    },
    counted,
  );
  await mapped.close();

  const scan = `opened, and all ${SIZE / MiB} MiB searched for a byte, ms`;
  await timed(
    node.samples,
    scan,
    1000,
    () => {
      seen += readFileSync(path).indexOf(10);
    },
    counted,
  );
  await timed(
    ours.samples,
    scan,
    1000,
    async () => {
      const file = mapFileSync(path);
      seen += file.buffer.indexOf(10);
      await file.close();
    },
    counted,
  );

  const opened = 'open and close, µs';
  await timed(
    node.samples,
    opened,
    OPENS,
    async () => {
      for (let n = 0; n < OPENS; n++) await (await open(path)).close();
    },
    counted,
  );
  for (const guard of ['both', 'trap'] as const) {
    await timed(
      ours.samples,
      guard === 'both' ? opened : `${opened} (guard: '${guard}')`,
      OPENS,
      async () => {
        for (let n = 0; n < OPENS; n++) await (await mapFile(path, { guard })).close();
      },
      counted,
    );
  }
  const openedSync = 'open and close at once, µs';
  await timed(
    node.samples,
    openedSync,
    OPENS,
    () => {
      for (let n = 0; n < OPENS; n++) closeSync(openSync(path, 'r'));
    },
    counted,
  );
  await timed(
    ours.samples,
    openedSync,
    OPENS,
    async () => {
      for (let n = 0; n < OPENS; n++) await mapFileSync(path).close();
    },
    counted,
  );

  for (const { name, samples } of [node, ours]) {
    const child = fork(fileURLToPath(new URL('./mmap-process.js', import.meta.url)), [name, large]);
    const [report] = (await once(child, 'message')) as [StreamReport];
    await once(child, 'exit');
    if (report.bytes !== STREAMED) throw new Error(`${name} streamed ${report.bytes} bytes`);
    if (!counted) continue;
    const what = `a stream of ${STREAMED / MiB} MiB, searched`;
    samples.add(`${what}: CPU s/GB`, report.cpuSeconds / (STREAMED / 1e9));
    samples.add(`${what}: peak of anonymous memory, MiB more than before`, report.anonymous / MiB);
    samples.add(`${what}: peak of all private pages, those of the cache included, MiB more`, report.private / MiB);
  }
}

try {
  fill(path, SIZE);
  fill(large, STREAMED);
  const keepsTheThread = await mapFile(path);
  for (let n = 0; n <= rounds; n++) await round(n > 0); // the first is for everybody to get warm
  await keepsTheThread.close();
  console.log(tableOf([node, ours]));
  console.log(
    `Node ${process.version}, ${values.directory}. Medians (minimum–maximum) of ${rounds} interleaved rounds.${seen === 0 ? '?' : ''}`,
  );
} finally {
  rmSync(directory, { recursive: true, force: true });
}
