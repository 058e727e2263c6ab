/**
 * Every fault at every one of the first calls of a way: each run ends with the same bytes, or with a clear error and
 * the exact count of what has arrived; and holds nothing afterwards.
 */
import { removeDirectory, temporaryDirectory } from '@zerocopy/testing/files';
import { closing, collectGarbage } from '@zerocopy/testing/holdings';
import { turn } from '@zerocopy/testing/waiting';
import { describeKept, type Holdings, holdings, TRIAL } from '../holdings.js';
import { complaintOf, type Delivery, run, type Way } from '../ways/way.js';
import { type Fault, type FaultPlan, type FaultReport, withFaults } from './injection.js';

/** Those that are tried. EAGAIN comes as a storm: more than one in a row. */
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

const REFUSALS: ReadonlySet<string> = new Set(['ENOSYS', 'EINVAL', 'EPERM']);
/** Calls that something slower stands in for. */
const REPLACEABLE: ReadonlySet<string> = new Set(
  'sendfile splice tee copy_file_range openat2 preadv2 statx posix_fadvise setsockopt'.split(' '),
);
/** Calls for which EAGAIN means to wait, or to ask somebody else. */
const AWAITABLE: ReadonlySet<string> = new Set('sendfile splice tee openat2 preadv2'.split(' '));
/** Calls that no signal interrupts: fcntl(F_DUPFD_CLOEXEC, F_SETLEASE), and what only looks into the process's own books. */
const UNINTERRUPTED: ReadonlySet<string> = new Set(
  'fcntl mmap munmap mremap mincore munlock sigaction memfd_create pipe2 close process_vm_readv'.split(' '),
);
/** Those, and what libuv repeats itself. */
const isUninterrupted = (call: string): boolean =>
  UNINTERRUPTED.has(call) || (call.startsWith('fs.') && call !== 'fs.read');

/**
 * Whether all must arrive in spite of it; of other faults an error may come. An EINTR that meets a read of Node's own
 * stream (`byNode`) is that stream's error, since Node does not read again: then the error and its count are looked at.
 */
export function mustArrive(call: string, fault: Fault, byNode: boolean = false): boolean {
  if (fault.kind === 'short') return true;
  if (fault.code === 'EINTR') return !isUninterrupted(call) && !byNode;
  if (fault.code === 'EAGAIN') return AWAITABLE.has(call);
  return REFUSALS.has(fault.code) && REPLACEABLE.has(call);
}

/** Calls of each way that are disturbed. */
export const FIRST_CALLS = 20;

/** Milliseconds after which a run counts as hanging, unless the caller says otherwise. */
const PATIENCE = 10_000;

export interface Trial {
  readonly way: string;
  readonly at: number;
  readonly fault: Fault;
  /** The call that was disturbed. */
  readonly call: string | undefined;
  /** All that were made. */
  readonly calls: readonly string[];
  /** Without the bytes, which have been looked at. */
  readonly deliveries: readonly Omit<Delivery, 'received'>[];
  /** What is wrong with it; undefined: nothing. */
  readonly complaint: string | undefined;
}

export const describeFault = (fault: Fault): string =>
  fault.kind === 'short' ? 'a count of 1' : `${fault.code}${(fault.times ?? 1) > 1 ? ` × ${fault.times}` : ''}`;

/** Runs it in a directory of its own, under a plan. Rejects if it throws, or hangs. */
async function runOnce(
  way: Way,
  content: Buffer,
  patience: number,
  plan?: FaultPlan,
): Promise<{ readonly deliveries: readonly Delivery[]; readonly report: FaultReport; readonly thrown: unknown }> {
  const directory = temporaryDirectory(undefined, TRIAL);
  const setting = { directory, content };
  let timer: NodeJS.Timeout | undefined;
  let thrown: unknown;
  try {
    const { value, report } = await withFaults(
      plan,
      () =>
        Promise.race([
          run(way, setting),
          new Promise<never>((_resolve, reject) => {
            timer = setTimeout(() => reject(new Error(`it hung for ${patience} ms`)), patience);
          }),
        ]).catch((error: unknown) => {
          thrown = error;
          return [];
        }),
      way.background,
    );
    return { deliveries: value, report, thrown };
  } finally {
    clearTimeout(timer);
    removeDirectory(directory);
  }
}

const told = (error: unknown): string => (error instanceof Error ? (error.stack ?? error.message) : String(error));

async function disturb(way: Way, content: Buffer, plan: FaultPlan, patience: number): Promise<Trial> {
  let stray: unknown;
  const onStray = (error: unknown): void => {
    stray ??= error;
  };
  process.on('uncaughtException', onStray);
  process.on('unhandledRejection', onStray);
  const { deliveries, report, thrown } = await runOnce(way, content, patience, plan);
  await turn();
  process.off('uncaughtException', onStray);
  process.off('unhandledRejection', onStray);
  let complaint = thrown === undefined ? undefined : `it threw: ${told(thrown)}`;
  const must = report.hit !== undefined && mustArrive(report.hit, plan.fault, report.byNode);
  for (const delivery of deliveries) {
    complaint ??= complaintOf(delivery, content);
    if (must && delivery.error !== undefined) complaint ??= `it did not go on: ${told(delivery.error)}`;
    // An error that has not been looked at holds on to the receivers of its stack, and by them to what they have mapped.
    void delivery.error?.stack;
  }
  if (stray !== undefined) complaint ??= `nobody caught: ${told(stray)}`;
  const outcomes = deliveries.map(({ received: _received, ...outcome }) => outcome);
  return {
    way: way.name,
    at: plan.at,
    fault: plan.fault,
    call: report.hit,
    calls: report.calls,
    deliveries: outcomes,
    complaint,
  };
}

/** What is held more than before, in words. What only waits for the garbage collector does not count. */
async function keptSince(before: Holdings): Promise<string | undefined> {
  await closing(() => holdings().descriptors <= before.descriptors);
  const kept = (): string | undefined => describeKept(before, holdings());
  if (kept() !== undefined) await collectGarbage(() => kept() === undefined);
  return kept();
}

/** One trial: the way with one fault, and what is held afterwards. */
export async function attempt(
  way: Way,
  content: Buffer,
  plan: FaultPlan,
  { patience = PATIENCE }: { readonly patience?: number } = {},
): Promise<Trial> {
  const before = holdings();
  const trial = await disturb(way, content, plan, patience);
  const kept = await keptSince(before);
  return kept === undefined || trial.complaint !== undefined ? trial : { ...trial, complaint: kept };
}

export interface ExhaustiveOptions {
  /** Milliseconds after which a run counts as hanging. */
  readonly patience?: number;
  readonly content: Buffer;
  readonly faults?: readonly Fault[];
  /** Calls disturbed, from the first on. */
  readonly firstCalls?: number;
  /** Picks some of all trials; default: all. */
  readonly choose?: (plans: readonly FaultPlan[]) => readonly FaultPlan[];
  readonly onTrial?: (trial: Trial) => void;
}

/** All trials of one way. What is kept counts for the trial it was lost in. */
export async function exhaust(way: Way, options: ExhaustiveOptions): Promise<readonly Trial[]> {
  const { content, faults = FAULTS, firstCalls = FIRST_CALLS, patience = PATIENCE, choose, onTrial } = options;
  // Twice: what is probed, bound and started once is not part of the way.
  await runOnce(way, content, patience);
  const { report, deliveries, thrown } = await runOnce(way, content, patience);
  if (thrown !== undefined) throw thrown;
  for (const delivery of deliveries) {
    const complaint = complaintOf(delivery, content) ?? delivery.error?.message;
    if (complaint !== undefined) throw new Error(`${way.name} fails undisturbed: ${complaint}`);
  }
  const plans: FaultPlan[] = [];
  for (let at = 1; at <= Math.min(firstCalls, report.calls.length); at++) {
    for (const fault of faults) plans.push({ at, fault });
  }
  const trials: Trial[] = [];
  for (const plan of choose?.(plans) ?? plans) {
    const trial = await attempt(way, content, plan, options);
    trials.push(trial);
    onTrial?.(trial);
  }
  return trials;
}
