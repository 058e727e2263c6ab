/** `npm run bench:copy`: copying a file, against coreutils' cp and fs.copyFile; and reflinks, against the bare ioctl. */
import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { copyFile as nodeCopyFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { copyFile } from '@zerocopy/file-copy';
import { Samples, tableOf } from './samples.js';

const MiB = 1024 * 1024;
const TMPFS = '/dev/shm';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '7' },
    mebibytes: { type: 'string', default: '1024' },
    from: { type: 'string', default: tmpdir() },
    to: { type: 'string', multiple: true, default: existsSync(TMPFS) ? [tmpdir(), TMPFS] : [tmpdir()] },
  },
});
const rounds = Number(values.rounds);
const size = Number(values.mebibytes) * MiB;
const sourceDirectory = mkdtempSync(join(values.from, 'zerocopy-copy-bench-'));
const source = join(sourceDirectory, 'source');
const directories = values.to.map((directory) => mkdtempSync(join(directory, 'zerocopy-copy-bench-')));

/** The floor: what is there to be done if the filesystem has reflinks. */
function bareClone(from: string, to: string): boolean {
  const [input, output] = [openSync(from, 'r'), openSync(to, 'w')];
  const result = syscalls.ioctl(output, constants.FICLONE, input);
  closeSync(input);
  closeSync(output);
  return result === 0;
}

type Copy = (to: string) => unknown;
const cp =
  (...options: string[]): Copy =>
  (to) => {
    const { status, error, stderr } = spawnSync('cp', [...options, source, to], { encoding: 'utf8' });
    if (status !== 0) throw error ?? new Error(stderr);
  };
const contestants: { name: string; copy: Copy; samples: Samples }[] = [
  { name: 'cp', copy: cp(), samples: new Samples() },
  { name: 'fs.copyFile', copy: (to) => nodeCopyFile(source, to), samples: new Samples() },
  {
    name: 'copyFile',
    copy: async (to) => void methods.add((await copyFile(source, to)).method),
    samples: new Samples(),
  },
  { name: 'cp --reflink=never', copy: cp('--reflink=never'), samples: new Samples() },
  { name: "copyFile, 'never'", copy: (to) => copyFile(source, to, { reflink: 'never' }), samples: new Samples() },
];
const methods = new Set<string>();

try {
  const fd = openSync(source, 'w');
  for (let at = 0; at < size; at += MiB) writeSync(fd, Buffer.alloc(MiB, 'x'));
  closeSync(fd);
  for (const directory of directories) {
    const to = join(directory, 'copy');
    const what = `${values.from} to ${directory.split('/zerocopy-')[0]}`;
    const clones = bareClone(source, to);
    const floor = {
      name: 'open, FICLONE, close',
      copy: (path: string) => bareClone(source, path),
      samples: new Samples(),
    };
    if (clones) contestants.push(floor);
    for (let round = 0; round <= rounds; round++) {
      for (const { copy, samples } of contestants) {
        rmSync(to, { force: true });
        const startedAt = performance.now();
        await copy(to);
        // The first round is for everybody to get warm.
        if (round > 0) samples.add(`${what}: ms`, performance.now() - startedAt);
      }
    }
  }
  console.log(tableOf(contestants));
  console.log(
    `Node ${process.version}, ${size / MiB} MiB, copied by ${[...methods].join(' and ')}. Medians (minimum–maximum) of ${rounds} interleaved rounds.`,
  );
} finally {
  for (const directory of [sourceDirectory, ...directories]) rmSync(directory, { recursive: true, force: true });
}
