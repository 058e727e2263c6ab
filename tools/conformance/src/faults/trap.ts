/** The first SIGBUS trap of a process, under every fault: it is there, or an error says why not; and nobody dies of it. */
import { fileURLToPath } from 'node:url';
import { makeFile, removeDirectory, temporaryDirectory } from '@zerocopy/testing/files';
import { runProgram } from '@zerocopy/testing/programs';
import type { Fault } from './injection.js';
import type { TrapAnswer } from './trap.child.js';
import type { Trial } from './trials.js';

export interface TrapTrial extends Trial {
  /** The code of the error that was told. */
  readonly code: string | undefined;
}

const child = fileURLToPath(new URL('./trap.child.js', import.meta.url));

/** @param fault undefined: it only counts. */
export async function trapUnder(at: number, fault: Fault | undefined): Promise<TrapTrial> {
  const directory = temporaryDirectory(undefined, 'trap');
  try {
    const path = makeFile(directory, Buffer.alloc(65_536, 1));
    const plan = fault === undefined ? null : { at, fault };
    const { stdout, stderr, status, signal } = await runProgram(process.execPath, [child, JSON.stringify(plan), path]);
    if (status !== 0) {
      const complaint = `the process ended with ${signal ?? status}: ${stderr}`;
      return { at, fault, call: undefined, calls: 0, clear: false, code: undefined, complaint };
    }
    const { calls, hit, code, kept, read } = JSON.parse(stdout) as TrapAnswer;
    let complaint: string | undefined;
    if (read !== 0) complaint = `what is missing reads as ${read}`;
    else if (kept > 0) complaint = `${kept} mappings stayed`;
    else if (fault === undefined) complaint = code;
    return { at, fault, call: hit, calls, clear: code !== undefined, code, complaint };
  } finally {
    removeDirectory(directory);
  }
}
