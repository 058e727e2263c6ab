/**
 * The probe under every fault, each time in a thread where nothing has been asked before: it never throws, it says why
 * something is missing, and it leaves nothing behind.
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { describeFault } from './exhaustive.js';
import type { Fault } from './injection.js';
import type { ProbeAnswer, ProbeTrialData } from './probe.worker.js';

export type Probing = ProbeTrialData['what'];

export interface ProbeTrial {
  readonly at: number;
  readonly fault: Fault | undefined;
  readonly call: string | undefined;
  /** How many calls there were. */
  readonly calls: number;
  /** Features that are not there, and why. */
  readonly missing: readonly string[];
  readonly complaint: string | undefined;
}

/** @param fault undefined: it only counts. @param only the calls that count; default: all. */
export async function probeUnder(
  what: Probing,
  at: number,
  fault: Fault | undefined,
  only?: readonly string[],
): Promise<ProbeTrial> {
  const directory = mkdtempSync(join(tmpdir(), 'zerocopy-fault-'));
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
    return { at, fault, call: hit, calls, missing: reasons, complaint };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** All of them, or those that `choose` takes. Rejects if the probe complains undisturbed. */
export async function exhaustProbe(
  what: Probing,
  faults: readonly Fault[],
  choose: (at: number, fault: Fault) => boolean = () => true,
): Promise<readonly ProbeTrial[]> {
  const undisturbed = await probeUnder(what, 0, undefined);
  if (undisturbed.complaint !== undefined) throw new Error(`undisturbed: ${undisturbed.complaint}`);
  const trials: ProbeTrial[] = [];
  for (let at = 1; at <= undisturbed.calls; at++) {
    for (const fault of faults) if (choose(at, fault)) trials.push(await probeUnder(what, at, fault));
  }
  return trials;
}

export const describeProbeTrial = ({ at, fault, call }: ProbeTrial): string =>
  `${fault === undefined ? 'nothing' : describeFault(fault)} at call ${at} (${call})`;
