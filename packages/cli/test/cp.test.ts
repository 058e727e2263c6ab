/** `zerocopy cp` beside GNU cp, on trees of odd files. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  existsSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { libcStatus, probePath, syscalls } from '@zerocopy/core-syscalls';
import { evict, residentBytes } from '@zerocopy/testing/page-cache';
import test, { type Implementation } from 'ava';
import { program, temporary, zerocopy } from './harness.js';

const directory = temporary(test);
const isRoot = process.getuid?.() === 0;
const hasGnu = spawnSync('cp', ['--version'], { encoding: 'utf8' }).stdout?.includes('GNU') === true;
const missing = !libcStatus().available
  ? ' (needs Linux system calls)'
  : hasGnu
    ? ''
    : ' (needs GNU cp, to compare with)';
const works = (title: string, run: Implementation<[]>): void =>
  (missing === '' ? test : test.skip)(`${title}${missing}`, run);

function oddTree(root: string): void {
  mkdirSync(join(root, 'sub/deeper'), { recursive: true });
  writeFileSync(join(root, 'plain'), 'plain');
  writeFileSync(join(root, 'empty'), '');
  writeFileSync(join(root, 'sub/program'), '#!/bin/sh\n', { mode: 0o755 });
  writeFileSync(join(root, 'sub/secret'), 'secret');
  chmodSync(join(root, 'sub/secret'), 0o4600);
  writeFileSync(Buffer.concat([Buffer.from(`${root}/sub/not-utf8-`), Buffer.of(0xff, 0xfe)]), 'odd name');
  writeFileSync(join(root, 'sub/read-only'), 'read only', { mode: 0o444 });
  const sparse = openSync(join(root, 'sparse'), 'w');
  writeSync(sparse, 'begin', 0);
  writeSync(sparse, 'middle', 3 * 2 ** 20);
  ftruncateSync(sparse, 8 * 2 ** 20);
  closeSync(sparse);
  linkSync(join(root, 'plain'), join(root, 'sub/hard'));
  symlinkSync('plain', join(root, 'soft'));
  symlinkSync('nowhere', join(root, 'dangling'));
  symlinkSync('../sub', join(root, 'sub/round'));
  syscalls.mknodat(join(root, 'fifo'), 0o010640, 0);
  syscalls.mknodat(join(root, 'socket'), 0o140640, 0);
  if (isRoot) syscalls.mknodat(join(root, 'null'), 0o020666, 0x103);
  syscalls.lsetxattr(join(root, 'plain'), 'user.colour', Buffer.from('green'));
  mkdirSync(join(root, 'closed'));
  writeFileSync(join(root, 'closed/inside'), 'inside');
  chmodSync(join(root, 'closed'), 0o555);
  utimesSync(join(root, 'empty'), 1_000_000_000.25, 1_111_111_111.5);
  utimesSync(join(root, 'sub/deeper'), 900_000_000, 900_000_001);
}

/** All that can be seen of a tree; times where they are to be kept. */
function seen(root: string, times: boolean): string[] {
  const first = new Map<string, string>();
  const lines: string[] = [];
  const walk = (path: Buffer, name: string): void => {
    const stat = lstatSync(path, { bigint: true });
    const key = `${stat.dev}:${stat.ino}`;
    const before = first.get(key);
    first.set(key, before ?? name);
    const isSparse = stat.isFile() && stat.blocks * 512n < stat.size;
    const content = stat.isFile() ? createHash('sha256').update(readFileSync(path)).digest('hex').slice(0, 12) : '';
    const goal = stat.isSymbolicLink() ? readlinkSync(path) : '';
    const value = Buffer.alloc(64);
    const length = syscalls.lgetxattr(path, 'user.colour', value);
    const xattr = length > 0 ? value.toString('latin1', 0, length) : '';
    const facts = [stat.mode.toString(8), stat.uid, stat.gid, stat.rdev, isSparse, content, goal, xattr, before ?? ''];
    lines.push([name, ...facts, times ? stat.mtimeNs : ''].join(' '));
    if (!stat.isDirectory()) return;
    for (const entry of readdirSync(path, { encoding: 'buffer' }).sort(Buffer.compare)) {
      walk(Buffer.concat([path, Buffer.from('/'), entry]), `${name}/${entry.toString('latin1')}`);
    }
  };
  walk(Buffer.from(root), '.');
  return lines;
}

const variants = [
  ['-a'],
  ['-r'],
  ['-r', '-p'],
  ['-d', '-r'],
  ['-r', '--preserve=timestamps,xattr'],
  ['-a', '--sparse=always'],
];
for (const flags of variants) {
  works(`a tree of odd files is copied as GNU cp does: ${flags.join(' ')}`, async (t) => {
    const name = flags.join('').replaceAll(/[^a-z]/g, '');
    const source = join(directory, `${name}-source`);
    mkdirSync(source);
    oddTree(source);
    const theirs = join(directory, `${name}-theirs`);
    const gnu = spawnSync('cp', [...flags, source, theirs], { encoding: 'utf8' });
    const { status, err } = await zerocopy(['cp', ...flags, source, join(directory, `${name}-ours`)]);
    t.is(gnu.status, 0, gnu.stderr);
    t.is(status, 0, err);
    const times = flags.some((flag) => ['-a', '-p'].includes(flag) || flag.includes('timestamps'));
    t.deepEqual(seen(join(directory, `${name}-ours`), times), seen(theirs, times));
    t.regex(err, /^zerocopy cp: \d+ entries: .* in .* s/);
  });
}

works('what cannot be copied is told, and the rest is copied: status 1, as GNU cp', async (t) => {
  const root = join(directory, 'refused');
  mkdirSync(join(root, 'to/taken'), { recursive: true });
  mkdirSync(join(root, 'tree/inner'), { recursive: true });
  writeFileSync(join(root, 'taken'), 'a file');
  writeFileSync(join(root, 'good'), 'good');
  symlinkSync('gone', join(root, 'to/good-link'));
  const at = (name: string): string => join(root, name);
  for (const [sources, message] of [
    [['none'], /cannot stat '.*none': no such file or directory/],
    [['taken'], /cannot overwrite directory '.*taken' with non-directory/],
    [['tree'], /omitting directory/],
  ] as const) {
    const args = [...sources.map(at), at('good'), at('to')];
    const { status, err } = await zerocopy(['cp', ...args]);
    t.is(status, 1);
    t.is(spawnSync('cp', args).status, 1);
    t.regex(err, message);
    t.is(readFileSync(at('to/good'), 'utf8'), 'good');
  }
  const self = await zerocopy(['cp', '-r', at('tree'), at('tree/inner')]);
  t.is(self.status, 1);
  t.regex(self.err, /into itself/);
  const dangling = await zerocopy(['cp', at('good'), at('to/good-link')]);
  t.regex(dangling.err, /dangling/);
  const same = await zerocopy(['cp', at('good'), at('good')]);
  t.regex(same.err, /are the same file/);
  t.is((await zerocopy(['cp', '-n', at('good'), at('taken')])).status, 0);
  t.is(readFileSync(at('taken'), 'utf8'), 'a file');
});

works('odd arguments, and what is left of them: as GNU cp', async (t) => {
  const [gnu, own] = ['gnu', 'own'].map((name) => join(directory, `arguments-${name}`)) as [string, string];
  const cases = [
    ['-r', 'tree', '.'],
    ['-r', 'tree/sub', 'tree'],
    ['-r', 'tree', 'tree', 'to'],
    ['-R', 'tree', 'tree/', 'to'],
    ['file', './file', 'to'],
    ['file', 'tree/file', 'to'],
    ['-rT', 'tree', 'to'],
    ['-T', 'file', 'to'],
    ['file', 'none/file'],
    ['file', 'new/'],
    ['file/', 'new'],
    ['file', 'dangling'],
    ['dangling', 'new'],
    ['-P', 'dangling', 'new'],
    ['-t', 'none', 'file'],
    ['-r', 'tree', 'file'],
    ['-rL', 'links', 'new'],
    ['-aL', 'links', 'new'],
    ['-La', 'links', 'new'],
    ['-RHP', 'to-links', 'new'],
    ['-RPH', 'to-links', 'new'],
    ['-r', '--', 'tree', '-new'],
    ['-rTL', 'fifos', 'to'],
    ['-rTH', 'fifos', 'to'],
    ['-rT', 'fifos', 'to'],
    ['-n', 'file', 'tree/sub/file', 'to'],
    ['-nT', 'file', 'to'],
  ];
  for (const args of cases) {
    for (const root of [gnu, own]) {
      mkdirSync(join(root, 'tree/sub'), { recursive: true });
      mkdirSync(join(root, 'to'));
      writeFileSync(join(root, 'to/fifo'), 'a file');
      mkdirSync(join(root, 'fifos'));
      syscalls.mknodat(join(root, 'fifos/fifo'), 0o010600, 0);
      mkdirSync(join(root, 'links'));
      writeFileSync(join(root, 'file'), 'file');
      writeFileSync(join(root, 'tree/file'), 'tree/file');
      writeFileSync(join(root, 'tree/sub/file'), 'tree/sub/file');
      symlinkSync('gone', join(root, 'dangling'));
      symlinkSync('../file', join(root, 'links/link'));
      symlinkSync('links', join(root, 'to-links'));
    }
    const theirs = spawnSync('cp', args, { cwd: gnu, encoding: 'utf8' });
    const ours = spawnSync(process.execPath, [program, 'cp', ...args], { cwd: own, encoding: 'utf8' });
    t.is(ours.status, theirs.status, `${args.join(' ')}: ${ours.stderr}${theirs.stderr}`);
    t.deepEqual(seen(own, false), seen(gnu, false), args.join(' '));
    t.is(/warning: .*once/.test(ours.stderr), /warning: .*once/.test(theirs.stderr), ours.stderr);
    for (const root of [gnu, own]) rmSync(root, { recursive: true });
  }
});

works('what the permission model of Node denies is left as it is, also by the calls that Node has not', (t) => {
  const flag = process.allowedNodeEnvironmentFlags.has('--permission') ? '--permission' : '--experimental-permission';
  const root = join(directory, 'denied');
  const [from, to] = [join(root, 'from'), join(root, 'to')];
  mkdirSync(join(from, 'sub'), { recursive: true });
  mkdirSync(join(to, 'sub'), { recursive: true });
  syscalls.lsetxattr(join(from, 'sub'), 'user.colour', Buffer.from('green'));
  utimesSync(join(from, 'sub'), 1_000_000_000, 1_000_000_000);
  const packages = dirname(dirname(dirname(dirname(program))));
  const reads = ['--allow-addons', `--allow-fs-read=${packages}`, `--allow-fs-read=${root}/*`];
  const copied = (preserved: string, more: readonly string[]): { status: number | null; stderr: string } => {
    const args = ['cp', '-rT', `--preserve=${preserved}`, join(from, 'sub'), join(to, 'sub')];
    return spawnSync(process.execPath, [flag, ...reads, ...more, program, ...args], { encoding: 'utf8' });
  };
  const before = seen(to, true);
  const hasAttributes = syscalls.lgetxattr(join(from, 'sub'), 'user.colour', Buffer.alloc(8)) > 0;
  for (const preserved of ['timestamps', ...(hasAttributes ? ['xattr'] : [])]) {
    const { status, stderr } = copied(preserved, []);
    t.is(status, 1, stderr);
    t.regex(stderr, /(preserving times|setting attribute 'user.colour').*: Access to this API has been restricted/);
    t.deepEqual(seen(to, true), before);
  }
  const { status, stderr } = copied('timestamps', [`--allow-fs-write=${root}/*`]);
  t.is(status, 0, stderr);
  t.is(lstatSync(join(to, 'sub')).mtimeMs, 1_000_000_000_000);
});

works('a destination is whole or as it was, whenever it is stopped, and nothing is left beside it', async (t) => {
  const root = join(directory, 'stopped');
  mkdirSync(join(root, 'to'), { recursive: true });
  writeFileSync(join(root, 'big'), Buffer.alloc(24 * 2 ** 20, 'x'));
  writeFileSync(join(root, 'to/big'), 'old');
  for (const wait of [0, 1, 5, 20]) {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), wait);
    // At this rate it takes seconds: it is never done before.
    await zerocopy(['cp', '--rate', '4M', join(root, 'big'), join(root, 'to')], controller.signal);
    t.deepEqual(readdirSync(join(root, 'to')), ['big']);
    t.is(readFileSync(join(root, 'to/big'), 'utf8'), 'old');
  }
});

works('a range, a rate, no holes, --json', async (t) => {
  const source = join(directory, 'digits');
  writeFileSync(source, '0123456789');
  const target = join(directory, 'part');
  for (const [range, expected] of [
    ['2-4', '234'],
    ['7-', '789'],
    ['1+2', '12'],
    ['20-', ''],
  ] as const) {
    const { status, out } = await zerocopy(['cp', '--json', '--range', range, source, target]);
    t.is(status, 0);
    t.is(readFileSync(target, 'utf8'), expected);
    t.is(JSON.parse(out).bytes, expected.length);
  }
  const sparse = openSync(join(directory, 'holes'), 'w');
  ftruncateSync(sparse, 2 ** 20);
  closeSync(sparse);
  t.is((await zerocopy(['cp', '-q', '--sparse=never', join(directory, 'holes'), target])).status, 0);
  t.true(lstatSync(target).blocks * 512 >= 2 ** 20);
  t.is((await zerocopy(['cp', '--range', '9-3', source, target])).status, 2);
  t.is((await zerocopy(['cp', '--rate', '0', source, target])).status, 2);
  t.true(existsSync(target));
});

works('a file that is replaced keeps its mode, and its other links their content', async (t) => {
  const root = join(directory, 'replaced');
  mkdirSync(root);
  writeFileSync(join(root, 'new'), 'new', { mode: 0o755 });
  writeFileSync(join(root, 'old'), 'old');
  chmodSync(join(root, 'old'), 0o640);
  linkSync(join(root, 'old'), join(root, 'link'));
  symlinkSync('old', join(root, 'soft'));
  t.is((await zerocopy(['cp', join(root, 'new'), join(root, 'soft')])).status, 0);
  t.true(lstatSync(join(root, 'soft')).isSymbolicLink());
  t.is(readFileSync(join(root, 'old'), 'utf8'), 'new');
  t.is(lstatSync(join(root, 'old')).mode & 0o7777, 0o640);
  t.is(readFileSync(join(root, 'link'), 'utf8'), 'old');
});

/** rw for the owner, a named user and the mask; nothing for the group and others (acl(5), struct posix_acl_xattr_header). */
function accessList(): Buffer {
  const list = Buffer.alloc(4 + 5 * 8, 0xff);
  list.writeUInt32LE(2, 0);
  for (const [index, [tag, permissions]] of [
    [1, 6],
    [2, 6],
    [4, 0],
    [16, 6],
    [32, 0],
  ].entries()) {
    list.writeUInt16LE(tag as number, 4 + index * 8);
    list.writeUInt16LE(permissions as number, 6 + index * 8);
  }
  list.writeUInt32LE(1, 4 + 8 + 4); // the named user
  return list;
}

works('a file that is replaced keeps its attributes and its access list: nobody gets in by the copy', async (t) => {
  const root = join(directory, 'kept');
  mkdirSync(root);
  const [source, target] = [join(root, 'source'), join(root, 'target')];
  const [name, list] = [Buffer.from('user.colour'), Buffer.from('system.posix_acl_access')];
  writeFileSync(source, 'new');
  writeFileSync(target, 'old');
  const hasAttributes = syscalls.lsetxattr(target, name, Buffer.from('green')) >= 0;
  const hasLists = syscalls.lsetxattr(target, list, accessList()) >= 0;
  if (!hasAttributes || !hasLists) t.log('this filesystem has not both of attributes and access lists');
  const mode = lstatSync(target).mode & 0o7777;
  t.is((await zerocopy(['cp', source, target])).status, 0);
  t.is(readFileSync(target, 'utf8'), 'new');
  t.is(lstatSync(target).mode & 0o7777, mode);
  const value = Buffer.alloc(64);
  if (hasAttributes) t.is(value.toString('latin1', 0, syscalls.lgetxattr(target, name, value)), 'green');
  if (hasLists) t.true(value.subarray(0, syscalls.lgetxattr(target, list, value)).equals(accessList()));
  // The mode of the source brings its own list, which is none.
  t.is((await zerocopy(['cp', '-p', source, target])).status, 0);
  t.true(syscalls.lgetxattr(target, list, value) < 0);
});

works(
  'past the page cache, or with nothing left in it: the same bytes, in all ways that they combine with',
  async (t) => {
    const source = join(directory, 'cold');
    const target = join(directory, 'cold-copy');
    const bytes = Buffer.from(Array.from({ length: 6 * 2 ** 20 + 11 }, (_, index) => index % 251));
    writeFileSync(source, bytes);
    const isOnDisk = probePath(source).directIo.available;
    const copied = async (...args: string[]): Promise<Record<string, unknown>> => {
      evict(source);
      const { status, out, err } = await zerocopy(['cp', '--json', ...args, source, target]);
      t.is(status, 0, err);
      return JSON.parse(out) as Record<string, unknown>;
    };
    for (const [args, expected] of [
      [[], bytes],
      [['--range', '5+100001'], bytes.subarray(5, 100_006)],
      [['--rate', '60M', '--fsync'], bytes],
      [['--range', '5M-', '--rate', '20M'], bytes.subarray(5 * 2 ** 20)],
      [['--range', '60M-'], bytes.subarray(0, 0)],
    ] as const) {
      const { methods, reason, bytes: told } = await copied('--direct', ...args);
      const [resident, residentCopy] = [residentBytes(source) ?? 0, residentBytes(target) ?? 0];
      t.true(readFileSync(target).equals(expected), String(args));
      t.is(told, expected.length);
      if (!isOnDisk) t.regex(String(reason), /through the page cache: /);
      else {
        t.deepEqual(Object.keys(methods as object), ['direct']);
        t.is(resident, 0);
        t.true(residentCopy <= 2 * 4096, 'the end of the file at most');
      }
    }
    const { reason } = await copied('--cache=drop', '--reflink=never');
    t.is(reason, undefined);
    if (isOnDisk) t.is((residentBytes(source) ?? 0) + (residentBytes(target) ?? 0), 0);
    t.true(readFileSync(target).equals(bytes));
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 20);
    await zerocopy(['cp', '--direct', '--rate', '1M', source, target], controller.signal);
    t.true(readFileSync(target).equals(bytes), 'as it was');
    for (const args of [
      ['--direct', '--cache=drop'],
      ['--direct', '--reflink'],
      ['--direct', '--sparse=always'],
      ['--cache=drop', '--rate=1M'],
      ['--cache=drop', '--sparse=always'],
    ]) {
      const { status, err } = await zerocopy(['cp', ...args, source, target]);
      t.is(status, 2);
      t.regex(err, /cannot be used with --/);
    }
  },
);

works(
  'a file without a size is read to its end; what is no file has no part, no rate and nothing direct',
  async (t) => {
    const target = join(directory, 'version');
    const version = readFileSync('/proc/version');
    for (const args of [['--rate', '10M'], ['--range', '0-'], ['--direct']]) {
      const { status, err } = await zerocopy(['cp', '-f', ...args, '/proc/version', target]);
      t.is(status, 0, err);
      t.true(readFileSync(target).equals(version), String(args));
    }
    const fifo = join(directory, 'a-fifo');
    syscalls.mknodat(fifo, 0o010600, 0);
    for (const args of [['--rate', '10M'], ['--range', '0-'], ['--direct']]) {
      const { status, err } = await zerocopy(['cp', ...args, fifo, target]);
      t.is(status, 1);
      t.regex(err, /is not a regular file/);
    }
  },
);
