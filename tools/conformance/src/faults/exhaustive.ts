/**
 * Every fault at every one of the first calls of a traffic: each run ends with the same bytes, or with a clear error and
 * the exact count of what has arrived; and holds nothing afterwards.
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Delivery, Traffic } from '../traffic/traffic.js';
import { type Fault, type FaultPlan, withFaults } from './injection.js';

/** The issue's list. EAGAIN comes as a storm: more than one in a row. */
export const FAULTS: readonly Fault[] = [
  { kind: 'errno', code: 'EINTR' },
  { kind: 'errno', code: 'EINTR', times: 5 },
  { kind: 'errno', code: 'EAGAIN' },
  { kind: 'errno', code: 'EAGAIN', times: 20 },
  { kind: 'short' },
  ...['EINVAL', 'ENOSYS', 'EPERM', 'EIO', 'ENOSPC', 'EMFILE', 'ENOMEM', 'EPIPE', 'ECONNRESET'].map(
    (code): Fault => ({ kind: 'errno', code }),
  ),
];

/** Calls of each traffic that are disturbed. */
export const FIRST_CALLS = 20;

/** Milliseconds after which a run counts as hanging. */
const PATIENCE = 10_000;

export interface Trial {
  readonly traffic: string;
  readonly at: number;
  readonly fault: Fault;
  /** The call that was disturbed. */
  readonly call: string | undefined;
  readonly deliveries: readonly Delivery[];
  /** What is wrong with it; undefined: nothing. */
  readonly complaint: string | undefined;
}

export const describeFault = (fault: Fault): string =>
  fault.kind === 'short' ? 'a count of 1' : `${fault.code}${(fault.times ?? 1) > 1 ? ` × ${fault.times}` : ''}`;

/** What is wrong with how one delivery ended, or undefined. */
export function complaintOf({ received, error, bytes }: Delivery, content: Buffer): string | undefined {
  if (error === undefined) {
    if (!received.equals(content)) return `success was told, and ${received.length} bytes arrived, or wrong ones`;
    return bytes === content.length ? undefined : `success was told with ${bytes} of ${content.length} bytes`;
  }
  if (typeof error.code !== 'string' || error.message === '') return `an error that is not clear: ${error}`;
  if (!received.equals(content.subarray(0, received.length))) return 'what arrived is no beginning of what was sent';
  if (bytes !== received.length) return `${error.code} told ${bytes} bytes, and ${received.length} arrived`;
  return undefined;
}

async function runOnce(traffic: Traffic, content: Buffer): Promise<readonly Delivery[]> {
  const directory = mkdtempSync(join(tmpdir(), 'zerocopy-fault-'));
  let patience: NodeJS.Timeout | undefined;
  try {
    return await Promise.race([
      traffic.run({ directory, content }),
      new Promise<never>((_resolve, reject) => {
        patience = setTimeout(() => reject(new Error(`it hung for ${PATIENCE} ms`)), PATIENCE);
      }),
    ]);
  } finally {
    clearTimeout(patience);
    rmSync(directory, { recursive: true, force: true });
  }
}

async function attempt(traffic: Traffic, content: Buffer, plan: FaultPlan): Promise<Trial> {
  let stray: unknown;
  const onStray = (error: unknown): void => {
    stray ??= error;
  };
  process.on('uncaughtException', onStray);
  process.on('unhandledRejection', onStray);
  let deliveries: readonly Delivery[] = [];
  let complaint: string | undefined;
  const { report } = await withFaults(plan, async () => {
    try {
      deliveries = await runOnce(traffic, content);
    } catch (error) {
      complaint = `it threw: ${error instanceof Error ? error.stack : error}`;
    }
  });
  for (const delivery of deliveries) complaint ??= complaintOf(delivery, content);
  await new Promise((resolve) => setImmediate(resolve));
  process.off('uncaughtException', onStray);
  process.off('unhandledRejection', onStray);
  if (stray !== undefined) complaint ??= `nobody caught: ${stray instanceof Error ? stray.stack : stray}`;
  return { traffic: traffic.name, at: plan.at, fault: plan.fault, call: report.hit, deliveries, complaint };
}

const openDescriptors = (): number => readdirSync('/proc/self/fd').length;

export interface ExhaustiveOptions {
  readonly content: Buffer;
  readonly faults?: readonly Fault[];
  /** Calls disturbed, from the first on. */
  readonly firstCalls?: number;
  /** Descriptors that may be open afterwards without being a leak, such as those of idle pipes; asked then. */
  readonly pooled?: () => number;
  readonly onTrial?: (trial: Trial) => void;
}

/** All trials of one traffic. The first complaint about descriptors counts for the trial they were lost in. */
export async function exhaust(traffic: Traffic, options: ExhaustiveOptions): Promise<readonly Trial[]> {
  const { content, faults = FAULTS, firstCalls = FIRST_CALLS, pooled = () => 0, onTrial } = options;
  // Twice: what is probed, bound and started once is not part of the traffic.
  await runOnce(traffic, content);
  const { report, value } = await withFaults(undefined, () => runOnce(traffic, content));
  for (const delivery of value) {
    const complaint = complaintOf(delivery, content) ?? delivery.error?.message;
    if (complaint !== undefined) throw new Error(`${traffic.name} fails undisturbed: ${complaint}`);
  }
  const trials: Trial[] = [];
  for (let at = 1; at <= Math.min(firstCalls, report.calls.length); at++) {
    for (const fault of faults) {
      const before = openDescriptors() - pooled();
      let trial = await attempt(traffic, content, { at, fault });
      const kept = openDescriptors() - pooled() - before;
      if (kept > 0 && trial.complaint === undefined) trial = { ...trial, complaint: `${kept} descriptors stayed open` };
      trials.push(trial);
      onTrial?.(trial);
    }
  }
  return trials;
}
