/** `zerocopy cp` where it can go wrong: killed at any moment, a full disk, files that may not be read. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { syscalls } from '@zerocopy/core-syscalls';
import { program } from './command.js';

export type Findings = readonly string[];

const MiB = 2 ** 20;
const NOBODY = 65_534;

const NEW_MODE = 0o640;
const OLD_MODE = 0o600;
const NAMES = [...Array.from({ length: 10 }, (_, n) => `file-${n}`), 'sub/inner', 'sub/sparse'];
const contentOf = (name: string): Buffer =>
  name === 'sub/sparse'
    ? Buffer.concat([Buffer.alloc(MiB), Buffer.from(name), Buffer.alloc(MiB)])
    : Buffer.alloc(2 * MiB, `new ${name} `);

function makeSource(source: string): void {
  mkdirSync(join(source, 'sub'), { recursive: true });
  for (const name of NAMES) {
    const path = join(source, name);
    writeFileSync(path, contentOf(name), { mode: NEW_MODE });
    syscalls.lsetxattr(path, 'user.colour', Buffer.from('green'));
  }
  linkSync(join(source, 'file-0'), join(source, 'sub/hard'));
  symlinkSync('file-0', join(source, 'soft'));
  chmodSync(join(source, 'sub'), 0o555);
}

/** What a destination must not look like, after a copy that was stopped or not. */
function wrongIn(target: string, mayLeave: boolean): string[] {
  const findings: string[] = [];
  const known = new Set([...NAMES, 'sub', 'sub/hard', 'soft']);
  for (const name of readdirSync(target, { recursive: true }) as string[]) {
    if (!known.has(name) && !(mayLeave && /(^|\/)\.zerocopy-/.test(name))) findings.push(`left ${name}`);
  }
  for (const name of NAMES) {
    const path = join(target, name);
    const content = readFileSync(path);
    const mode = statSync(path).mode & 0o7777;
    const hasAttribute = syscalls.lgetxattr(path, Buffer.from('user.colour'), Buffer.alloc(16)) === 5;
    const isOld = content.toString('latin1') === 'old' && mode === OLD_MODE && !hasAttribute;
    const isNew = content.equals(contentOf(name)) && mode === NEW_MODE && hasAttribute === ATTRIBUTES;
    if (!isOld && !isNew) findings.push(`${name} is neither the old file nor the new one`);
  }
  return findings;
}
/** Whether the filesystem of temporary files has extended attributes. */
let ATTRIBUTES = true;

/**
 * Whatever the moment: each file is the old one or the new one, with its mode and attributes, and a signal that can be caught
 * leaves nothing else.
 */
export async function kills(rounds: number): Promise<Findings> {
  const findings: string[] = [];
  const root = mkdtempSync(join(tmpdir(), 'zerocopy-kills-'));
  const [source, target] = [join(root, 'source'), join(root, 'target')];
  makeSource(source);
  ATTRIBUTES = syscalls.lgetxattr(join(source, 'file-0'), Buffer.from('user.colour'), Buffer.alloc(16)) === 5;
  const variants = [['--rate', '100M'], ['--reflink=never'], ['--sparse=always'], ['--direct']];
  /** Milliseconds that each variant takes if nothing stops it. */
  const whole: number[] = [];
  let stopped = 0;
  for (let round = 0; round < rounds + variants.length; round++) {
    // One that was closed to its owner is in the way of rmSync, unless it is root's.
    spawnSync('chmod', ['-Rf', 'u+w', target]);
    rmSync(target, { recursive: true, force: true });
    mkdirSync(join(target, 'sub'), { recursive: true });
    for (const name of NAMES) {
      writeFileSync(join(target, name), 'old', { mode: OLD_MODE });
      chmodSync(join(target, name), OLD_MODE);
    }
    const which = round % variants.length;
    const args = ['cp', '-a', '-q', ...(variants[which] as string[]), `${source}/.`, target];
    const signal = (['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGKILL'] as const)[
      Math.floor(round / variants.length) % 4
    ] as NodeJS.Signals;
    const startedAt = performance.now();
    const child = spawn(process.execPath, [program, ...args], { stdio: 'ignore' });
    const exited = once(child, 'exit') as Promise<[number | null]>;
    const limit = whole[which];
    if (limit !== undefined) {
      await delay(Math.random() * limit);
      child.kill(signal);
    }
    const [status] = await exited;
    if (limit === undefined) whole[which] = performance.now() - startedAt;
    if (status !== 0) stopped++;
    const title = `round ${round}, ${args.join(' ')}, ${limit === undefined ? 'to its end' : signal}`;
    const expected = { SIGTERM: 143, SIGINT: 130, SIGHUP: 129 }[signal as 'SIGTERM'];
    if (limit === undefined ? status !== 0 : status !== null && ![0, expected].includes(status)) {
      findings.push(`${title}: status ${status}`);
    }
    // Before it has begun to listen to signals, each ends it: then nothing has been made yet.
    for (const wrong of wrongIn(target, signal === 'SIGKILL' && limit !== undefined))
      findings.push(`${title}: ${wrong}`);
  }
  spawnSync('chmod', ['-R', 'u+w', root]);
  rmSync(root, { recursive: true, force: true });
  if (stopped === 0 && rounds > 0) findings.push('no copy was stopped: nothing was shown');
  return findings;
}

/** On a full disk what fits is copied, what does not is told, and nothing of it is left. @returns undefined: no mounts here. */
export function fullDisk(): Findings | undefined {
  const root = mkdtempSync(join(tmpdir(), 'zerocopy-full-'));
  const target = join(root, 'target');
  mkdirSync(target);
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', target]).status === 0;
  try {
    if (!mounted) return undefined;
    mkdirSync(join(root, 'source'));
    for (const [name, size] of [
      ['a-small', MiB],
      ['b-big', 6 * MiB],
      ['c-small', MiB],
    ] as const) {
      writeFileSync(join(root, 'source', name), Buffer.alloc(size, name));
    }
    mkdirSync(join(target, 'copy'));
    writeFileSync(join(target, 'copy/b-big'), 'old');
    const args = ['cp', '-rT', join(root, 'source'), join(target, 'copy')];
    const { status, stderr } = spawnSync(process.execPath, [program, ...args], { encoding: 'utf8' });
    const findings: string[] = [];
    if (status !== 1 || !/b-big.*no space left/.test(stderr)) findings.push(`status ${status}: ${stderr}`);
    const left = readdirSync(join(target, 'copy')).sort();
    if (left.join(' ') !== 'a-small b-big c-small') findings.push(`there is ${left.join(' ')}`);
    if (readFileSync(join(target, 'copy/b-big'), 'utf8') !== 'old') findings.push('the old file is not as it was');
    return findings;
  } finally {
    if (mounted) spawnSync('umount', [target]);
    rmSync(root, { recursive: true, force: true });
  }
}

/** Files and directories that may not be read, to a user who is not root: the same status and the same files as GNU cp. */
export function unreadable(): Findings | undefined {
  if (process.getuid?.() !== 0) return undefined; // somebody else is needed
  const root = mkdtempSync(join(tmpdir(), 'zerocopy-unreadable-'));
  try {
    chmodSync(root, 0o777);
    const source = join(root, 'source');
    mkdirSync(join(source, 'closed'), { recursive: true });
    writeFileSync(join(source, 'open'), 'open');
    writeFileSync(join(source, 'secret'), 'secret', { mode: 0o600 });
    writeFileSync(join(source, 'closed/inside'), 'inside');
    chmodSync(join(source, 'closed'), 0o700);
    const user = { uid: NOBODY, gid: NOBODY, encoding: 'utf8' } as const;
    const theirs = spawnSync('cp', ['-r', source, join(root, 'theirs')], user);
    const ours = spawnSync(process.execPath, [program, 'cp', '-r', source, join(root, 'ours')], user);
    const findings: string[] = [];
    if (ours.status !== theirs.status) findings.push(`status ${ours.status}, GNU cp ${theirs.status}: ${ours.stderr}`);
    const [mine, gnu] = ['ours', 'theirs'].map((name) =>
      readdirSync(join(root, name), { recursive: true }).sort().join(' '),
    );
    if (mine !== gnu) findings.push(`there is ${mine}, GNU cp has ${gnu}`);
    return findings;
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}
