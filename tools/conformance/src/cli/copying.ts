/** `zerocopy cp` where it can go wrong: killed at any moment, a full disk, files that may not be read. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { program } from './command.js';

export type Findings = readonly string[];

const MiB = 2 ** 20;
const NOBODY = 65_534;

/** Whatever the moment: each file has its old content or its new one, and SIGTERM leaves nothing else. */
export async function kills(rounds: number): Promise<Findings> {
  const findings: string[] = [];
  const root = mkdtempSync(join(tmpdir(), 'zerocopy-kills-'));
  const [source, target] = [join(root, 'source'), join(root, 'target')];
  mkdirSync(source);
  const names = Array.from({ length: 12 }, (_, n) => `file-${n}`);
  const fresh = (name: string): Buffer => Buffer.alloc(2 * MiB, `new ${name} `);
  for (const name of names) writeFileSync(join(source, name), fresh(name));
  let stopped = 0;
  for (let round = 0; round < rounds; round++) {
    rmSync(target, { recursive: true, force: true });
    mkdirSync(target);
    for (const name of names) writeFileSync(join(target, name), 'old');
    const signal = round % 2 === 0 ? 'SIGTERM' : 'SIGKILL';
    // Each file takes 20 ms at this rate, so that the moment is somewhere within.
    const args = ['cp', '--rate', '100M', '-q', ...names.map((name) => join(source, name)), target];
    const child = spawn(process.execPath, [program, ...args], { stdio: 'ignore' });
    const exited = once(child, 'exit') as Promise<[number | null]>;
    await delay(80 + ((round * 37) % 400));
    child.kill(signal);
    const [status] = await exited;
    if (status !== 0) stopped++;
    if (signal === 'SIGTERM' && status !== null && ![0, 143].includes(status))
      findings.push(`round ${round}: status ${status}`);
    const left = readdirSync(target).filter((name) => !names.includes(name));
    if (left.length > 0 && signal === 'SIGTERM' && status !== null) findings.push(`round ${round}: left ${left}`);
    for (const name of names) {
      const content = readFileSync(join(target, name));
      if (content.toString('latin1') !== 'old' && !content.equals(fresh(name))) {
        findings.push(`round ${round}, ${signal}: half of ${name}`);
      }
    }
  }
  rmSync(root, { recursive: true, force: true });
  if (stopped === 0) findings.push('no copy was stopped: nothing was shown');
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
    const { status, stderr } = spawnSync(
      process.execPath,
      [program, 'cp', '-r', join(root, 'source'), join(target, 'copy')],
      {
        encoding: 'utf8',
      },
    );
    const findings: string[] = [];
    if (status !== 1 || !/b-big.*no space left/.test(stderr)) findings.push(`status ${status}: ${stderr}`);
    const left = readdirSync(join(target, 'copy')).sort();
    if (left.join(' ') !== 'a-small c-small') findings.push(`there is ${left.join(' ')}`);
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
