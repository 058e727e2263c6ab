/** The thread in which the probe is asked, under a plan, for the first time. */
import './install.js';
import { readFileSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { type Feature, feature, featureNames, probe, probePath } from '@zerocopy/core-syscalls';
import { closing, openDescriptors as descriptors } from '@zerocopy/testing/holdings';
import { type FaultPlan, withFaults } from './injection.js';

export interface ProbeTrialData {
  readonly what: 'probe' | 'probePath';
  readonly plan: FaultPlan | undefined;
}

export interface ProbeAnswer {
  readonly calls: number;
  readonly hit: string | undefined;
  readonly features: Readonly<Record<string, Feature>>;
  readonly thrown: string | undefined;
  /** What is held afterwards, in words. */
  readonly kept: string | undefined;
}

const { what, plan } = workerData as ProbeTrialData;

const mappings = (): number => readFileSync('/proc/self/maps', 'utf8').split('memfd:zerocopy').length;

const asked: Readonly<Record<ProbeTrialData['what'], () => Readonly<Record<string, Feature>>>> = {
  probe: () => probe().features,
  probePath: () => {
    const { sendfileSource, reflink, directIo, lease } = probePath(new URL(import.meta.url).pathname);
    return { sendfileSource, reflink, directIo, lease };
  },
};

// What a path is asked for needs to know what there is; that is the other trial.
if (what === 'probePath') for (const name of featureNames) feature(name);
const before = [descriptors(), mappings()] as const;
let features: Readonly<Record<string, Feature>> = {};
let thrown: string | undefined;
const { report } = await withFaults(
  plan,
  async () => {
    try {
      features = asked[what]();
    } catch (error) {
      thrown = String(error instanceof Error ? error.stack : error);
    }
  },
  { direct: true },
);
// What is not known to close at once is closed on the thread pool.
await closing(() => descriptors() <= before[0]);
const after = [descriptors(), mappings()] as const;
const kept =
  after[0] > before[0] || after[1] > before[1]
    ? `afterwards there are ${after[0] - before[0]} descriptors and ${after[1] - before[1]} mappings more`
    : undefined;
const answer: ProbeAnswer = { calls: report.calls.length, hit: report.hit, features, thrown, kept };
parentPort?.postMessage(answer);
