/** The first SIGBUS trap of a process, under every fault: it is there, or an error says why not; and nobody dies of it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import type { Fault } from './injection.js';
import type { TrapAnswer } from './trap.child.js';

export interface TrapTrial {
  readonly at: number;
  readonly fault: Fault | undefined;
  readonly call: string | undefined;
  readonly calls: number;
  /** The code of the error that was told. */
  readonly code: string | undefined;
  readonly complaint: string | undefined;
}

const child = fileURLToPath(new URL('./trap.child.js', import.meta.url));

/** @param fault undefined: it only counts. */
export async function trapUnder(at: number, fault: Fault | undefined): Promise<TrapTrial> {
  const directory = mkdtempSync(join(tmpdir(), 'zerocopy-trap-'));
  try {
    const path = join(directory, 'file');
    writeFileSync(path, Buffer.alloc(65_536, 1));
    const plan = fault === undefined ? null : { at, fault };
    const process_ = spawn(process.execPath, [child, JSON.stringify(plan), path], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const [output, problems, [status, signal]] = await Promise.all([
      text(process_.stdout),
      text(process_.stderr),
      once(process_, 'close') as Promise<[number | null, string | null]>,
    ]);
    if (status !== 0) {
      const complaint = `the process ended with ${signal ?? status}: ${problems}`;
      return { at, fault, call: undefined, calls: 0, code: undefined, complaint };
    }
    const { calls, hit, code, kept, read } = JSON.parse(output) as TrapAnswer;
    let complaint: string | undefined;
    if (read !== 0) complaint = `what is missing reads as ${read}`;
    else if (kept > 0) complaint = `${kept} mappings stayed`;
    return { at, fault, call: hit, calls, code, complaint };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** All of them, or those that `choose` takes. Rejects if there is a complaint undisturbed. */
export async function exhaustTrap(
  faults: readonly Fault[],
  choose: (at: number, fault: Fault) => boolean = () => true,
): Promise<readonly TrapTrial[]> {
  const { calls, complaint, code } = await trapUnder(0, undefined);
  if (complaint !== undefined || code !== undefined) throw new Error(`undisturbed: ${complaint ?? code}`);
  const trials: TrapTrial[] = [];
  for (let at = 1; at <= calls; at++) {
    for (const fault of faults) if (choose(at, fault)) trials.push(await trapUnder(at, fault));
  }
  return trials;
}
