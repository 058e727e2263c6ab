/**
 * The probe under every fault, each time in a thread where nothing has been asked before: it never throws, it says why
 * something is missing, and it leaves nothing behind.
 */
import { readdirSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { removeDirectory, temporaryDirectory } from '@zerocopy/testing/files';
import { TRIAL } from '../holdings.js';
import type { Fault } from './injection.js';
import type { ProbeAnswer, ProbeTrialData } from './probe.worker.js';
import type { Trial } from './trials.js';

export type Probing = ProbeTrialData['what'];

export interface ProbeTrial extends Trial {
  /** Features that are not there, and why. */
  readonly missing: readonly string[];
}

/** @param fault undefined: it only counts. @param only the calls that count; default: all. */
export async function probeUnder(
  what: Probing,
  at: number,
  fault: Fault | undefined,
  only?: readonly string[],
): Promise<ProbeTrial> {
  const directory = temporaryDirectory(undefined, TRIAL);
  try {
    const workerData: ProbeTrialData = { what, plan: fault === undefined ? undefined : { at, fault, only } };
    const worker = new Worker(new URL('./probe.worker.js', import.meta.url), {
      workerData,
      env: { ...process.env, TMPDIR: directory },
    });
    const { calls, hit, features, thrown, kept } = await new Promise<ProbeAnswer>((resolve, reject) => {
      worker.once('message', resolve).once('error', reject);
    });
    await worker.terminate();
    const missing = Object.entries(features).filter(([, { available }]) => !available);
    const left = readdirSync(directory);
    let complaint = thrown === undefined ? kept : `it threw: ${thrown}`;
    for (const [name, { reason }] of missing) {
      if (reason === undefined || reason === '') complaint ??= `${name} is missing, and it does not say why`;
    }
    if (left.length > 0) complaint ??= `it left ${left.join(', ')}`;
    const reasons = missing.map(([name, { reason }]) => `${name}: ${reason}`);
    return { at, fault, call: hit, calls, clear: missing.length > 0, missing: reasons, complaint };
  } finally {
    removeDirectory(directory);
  }
}
