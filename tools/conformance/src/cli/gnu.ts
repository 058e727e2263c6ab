/** `zerocopy cp` beside GNU cp: random trees, what is there already, random options, as root and as an ordinary user. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { syscalls } from '@zerocopy/core-syscalls';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import { program } from './command.js';
import type { Findings } from './copying.js';

const MiB = 2 ** 20;
const NOBODY = 65_534;
/** Times of what is copied, and of what is there already, in seconds. */
const [THEN, BEFORE] = [1_000_000_000, 900_000_000];
const FIFO = 0o010600;

class Dice {
  readonly #generator;

  constructor(seed: number) {
    this.#generator = xoroshiro128plus(seed);
  }

  /** A whole number below `count`. */
  below(count: number): number {
    return (this.#generator.next() >>> 0) % count;
  }

  one<Value>(values: readonly Value[]): Value {
    return values[this.below(values.length)] as Value;
  }

  isOneIn(count: number): boolean {
    return this.below(count) === 0;
  }
}

const NAMES = ['a', 'b', 'c', 'd'];
const MODES = [0o644, 0o600, 0o755, 0o444, 0o4755, 0o000];

/** What can be made under a name. */
interface Setting {
  readonly time: number;
  /** What opening would wait for is left out. */
  readonly fifos: boolean;
  /** Hard links: a file that is replaced by ours is a new one, which is a difference that is meant. */
  readonly links: boolean;
  /** Directories that may not be written to: ours makes each file in them, GNU cp writes into those that are there. */
  readonly closed: boolean;
  /** Set-user-id. Of a file that is there GNU cp 9.1 keeps it even where the mode of the source is to be kept, which has none. */
  readonly setId: boolean;
  readonly text: string;
}

function grow(dice: Dice, directory: string, setting: Setting, depth: number): void {
  mkdirSync(directory);
  const files: string[] = [];
  for (const name of NAMES) {
    const path = join(directory, name);
    const kind = dice.below(10);
    if (kind < 3) writeFileSync(path, dice.isOneIn(4) ? '' : `${setting.text} ${path.length} ${name}`);
    else if (kind === 3) {
      const fd = openSync(path, 'w');
      writeSync(fd, name, dice.below(2) * MiB);
      ftruncateSync(fd, 2 * MiB);
      closeSync(fd);
    } else if (kind === 4 && depth > 0) grow(dice, path, setting, depth - 1);
    else if (kind === 5) symlinkSync(dice.one(['a', 'b', 'gone', '../a', 'c/a']), path);
    else if (kind === 6 && setting.fifos) syscalls.mknodat(path, FIFO, 0);
    else if (kind === 7 && setting.links && files.length > 0) linkSync(dice.one(files), path);
    else continue;
    const stat = lstatSync(path);
    if (stat.isFile()) {
      files.push(path);
      if (dice.isOneIn(2)) syscalls.lsetxattr(path, 'user.colour', Buffer.from(name));
      chmodSync(path, dice.one(setting.setId ? MODES : MODES.filter((mode) => mode <= 0o777)));
    } else if (stat.isDirectory())
      chmodSync(path, dice.one(setting.closed ? [0o755, 0o700, 0o555, 0o755, 0o000] : [0o755, 0o700]));
    lutimesSync(path, setting.time, setting.time);
  }
  lutimesSync(directory, setting.time, setting.time);
}

/** All that lies in a directory, in order. readdir's own recursion follows symbolic links. */
function namesIn(root: string, below = ''): string[] {
  const entries = readdirSync(join(root, below), { withFileTypes: true });
  const names = entries.flatMap((entry) => {
    const name = join(below, entry.name);
    return entry.isDirectory() ? [name, ...namesIn(root, name)] : [name];
  });
  return names.sort();
}

function belongsTo(root: string, user: number): void {
  for (const name of ['', ...namesIn(root)]) {
    const path = join(root, name);
    const { mode, mtimeMs } = lstatSync(path);
    if (lstatSync(path).isSymbolicLink()) continue;
    chownSync(path, user, user);
    chmodSync(path, mode & 0o7777);
    lutimesSync(path, mtimeMs / 1000, mtimeMs / 1000);
  }
}

/** All that can be seen; of times, whose they are. */
function seen(root: string): string[] {
  const lines: string[] = [];
  const first = new Map<string, string>();
  for (const name of ['', ...namesIn(root)]) {
    const path = join(root, name);
    const stat = lstatSync(path);
    const key = `${stat.dev}:${stat.ino}`;
    const linked = first.get(key) ?? '';
    first.set(key, name);
    const time = stat.mtimeMs === THEN * 1000 ? 'then' : stat.mtimeMs === BEFORE * 1000 ? 'before' : 'now';
    // A file that is replaced is a new one, so that its directory is written to, too.
    const isWrittenTo = stat.isDirectory() && time === 'before';
    const facts: unknown[] = [name, (stat.mode >>> 0).toString(8), stat.uid, stat.gid, isWrittenTo ? 'now' : time];
    if (stat.isFile()) {
      const value = Buffer.alloc(16);
      const length = syscalls.lgetxattr(path, Buffer.from('user.colour'), value);
      const holes = stat.blocks * 512 < stat.size ? 'holes' : 'whole';
      facts.push(linked, stat.size, holes, readFileSync(path).toString('latin1').replaceAll('\0', ''));
      facts.push(length < 0 ? 'none' : value.toString('latin1', 0, length));
    } else if (stat.isSymbolicLink()) facts.push(readlinkSync(path));
    lines.push(facts.join(' '));
  }
  return lines;
}

const FLAGS = [
  ['-p'],
  ['-d'],
  ['-P'],
  ['-L'],
  ['-H'],
  ['-f'],
  ['-n'],
  ['-T'],
  ['--preserve=mode'],
  ['--preserve=timestamps,links'],
  ['--preserve=xattr'],
  ['--preserve=all'],
  ['--sparse=always'],
  ['--sparse=never'],
  ['--reflink=auto'],
  ['-v'],
];

/** @returns how the two differ, with the command line. */
function compareOnce(root: string, seed: number): Findings {
  const dice = new Dice(seed);
  const isRecursive = !dice.isOneIn(4);
  const flags = [
    ...(isRecursive ? [dice.one(['-r', '-R', '-a', '-a'])] : []),
    ...Array.from({ length: dice.below(4) }, () => dice.one(FLAGS)).flat(),
  ];
  const user = process.getuid?.() === 0 && dice.isOneIn(2) ? NOBODY : undefined;
  const isThere = dice.below(3);
  const shape = dice.below(4);
  const sources = ['source', 'source/.', 'source/a source/b', 'source/a'][shape] as string;
  const args = [...flags, ...sources.split(' '), 'to'];
  const sowing = dice.below(2 ** 30);
  const results = (['gnu', 'own'] as const).map((name) => {
    const directory = join(root, name);
    mkdirSync(directory);
    chmodSync(directory, 0o777);
    const again = new Dice(sowing);
    grow(
      again,
      join(directory, 'source'),
      { time: THEN, fifos: isRecursive, links: isThere === 0, closed: true, setId: true, text: 'new' },
      2,
    );
    const there = { time: BEFORE, fifos: false, links: false, closed: false, setId: false, text: 'old' };
    if (isThere > 0) grow(again, join(directory, 'to'), there, 1);
    if (isThere === 2 && shape === 0) grow(again, join(directory, 'to/source'), there, 1);
    if (user !== undefined) belongsTo(directory, user);
    const options = { cwd: directory, encoding: 'utf8', uid: user, gid: user, timeout: 20_000 } as const;
    const [file, before]: [string, string[]] = name === 'gnu' ? ['cp', []] : [process.execPath, [program, 'cp', '-q']];
    const { status, stderr } = spawnSync(file, [...before, ...args], options);
    return { status, stderr, seen: seen(directory) };
  });
  const [gnu, own] = results as [(typeof results)[number], (typeof results)[number]];
  const title = `seed ${seed}, cp ${args.join(' ')}${user === undefined ? '' : ', an ordinary user'}`;
  const differences = [
    ...gnu.seen.filter((line) => !own.seen.includes(line)).map((line) => `GNU cp: ${line}`),
    ...own.seen.filter((line) => !gnu.seen.includes(line)).map((line) => `ours: ${line}`),
  ];
  const expected = /^Try 'cp --help'/m.test(gnu.stderr) ? 2 : gnu.status; // a command line that makes no sense
  if (own.status !== expected)
    differences.push(`status ${gnu.status}, ours ${own.status}: ${gnu.stderr} | ${own.stderr}`);
  return differences.length === 0 ? [] : [`${title}\n    ${differences.slice(0, 6).join('\n    ')}`];
}

/** @returns undefined: there is no GNU cp here. */
export function besideGnu(cases: number, seed: number): Findings | undefined {
  if (spawnSync('cp', ['--version'], { encoding: 'utf8' }).stdout?.includes('GNU') !== true) return undefined;
  const findings: string[] = [];
  for (let n = 0; n < cases; n++) {
    const root = mkdtempSync(join(tmpdir(), 'zerocopy-gnu-'));
    try {
      chmodSync(root, 0o777);
      findings.push(...compareOnce(root, seed + n));
    } finally {
      spawnSync('chmod', ['-R', 'u+rwX', root]);
      rmSync(root, { recursive: true, force: true });
    }
  }
  return findings;
}
