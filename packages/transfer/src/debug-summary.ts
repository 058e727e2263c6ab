/**
 * ZEROCOPY_DEBUG: what was moved in this thread, and what was not and why, printed to stderr when the thread ends.
 *
 * The variable is read once, when this module is loaded. Where it is not set (or is '' or '0') nothing is kept and no
 * listener is added. Two copies of this package in one process share one registry, and so there is one summary of both.
 */
import { type BigIntStats, fstatSync, writeSync } from 'node:fs';
import { nodeThreads } from '@zerocopy/core-syscalls/descriptors';
import type { TransferCounts } from './transfer-counters.js';

const STDERR = 2;

/**
 * What all copies of this package in this thread have added. Registered: its shape must not change without a new
 * number.
 */
interface Registry {
  readonly counts: (() => TransferCounts)[];
  readonly lines: (() => readonly string[])[];
}

const kRegistry: unique symbol = Symbol.for('zerocopy.debugSummary.1');

const isAskedFor = !['', '0'].includes(process.env.ZEROCOPY_DEBUG ?? '');

/** The registry of this thread, made with its 'exit' listener by the first copy that asks. */
function registry(): Registry {
  const holder = process as typeof process & { [kRegistry]?: Registry };
  const present = holder[kRegistry];
  if (present !== undefined) return present;
  const made: Registry = { counts: [], lines: [] };
  Object.defineProperty(holder, kRegistry, { value: made });
  const stderr = statusOf(STDERR);
  process.on('exit', () => {
    const now = statusOf(STDERR);
    // The program may have closed it, and the number may be that of a file of its own since (kernel-rules: fd-reuse).
    if (stderr !== undefined && now?.ino === stderr.ino && now.dev === stderr.dev) print(summary(made));
  });
  return made;
}

/**
 * Counts that belong to the summary: those of several copies are added up. Does nothing unless ZEROCOPY_DEBUG is set.
 */
export function summarizeCounts(counts: () => TransferCounts): void {
  if (isAskedFor) registry().counts.push(counts);
}

/**
 * Adds lines to the summary that ZEROCOPY_DEBUG=1 prints when this thread ends. Does nothing unless it is set.
 * @param lines called once, at the end; each line without a newline. What it throws is ignored.
 */
export function addSummary(lines: () => readonly string[]): void {
  if (isAskedFor) registry().lines.push(lines);
}

function statusOf(fd: number): BigIntStats | undefined {
  try {
    return fstatSync(fd, { bigint: true });
  } catch {
    return undefined; // closed
  }
}

function print(text: string): void {
  const bytes = Buffer.from(text);
  try {
    for (let done = 0; done < bytes.length; ) done += writeSync(STDERR, bytes, done);
  } catch {} // its reader has gone away; there is no other place to say so
}

/** The text; empty for a worker thread in which there was nothing to tell. */
function summary({ counts, lines }: Registry): string {
  const total = sum(counts.map((read) => read()));
  const added = lines.flatMap(linesOf);
  const { isMainThread, threadId } = nodeThreads();
  if (!isMainThread && total.transfers === 0 && added.length === 0) return '';
  const where = isMainThread ? `process ${process.pid}` : `process ${process.pid}, thread ${threadId}`;
  return [
    `zerocopy, ${where}: ${amount(total.transfers, 'transfer')} ended, ${total.failed} failed`,
    ...largestFirst(total.methods).map(([method, transfers]) => {
      const bytes = total.bytes[method as keyof typeof total.bytes] ?? 0;
      return `  ${method}: ${amount(transfers, 'transfer')}, ${amount(bytes, 'byte')}`;
    }),
    ...largestFirst(total.copied).map(([reason, transfers]) => `  declined ${amount(transfers, 'time')}: ${reason}`),
    ...added.map((line) => `  ${line}`),
  ]
    .map((line) => `${line.replaceAll(/\p{Cc}/gu, ' ')}\n`) // reasons may hold names that the program has chosen
    .join('');
}

function linesOf(lines: () => readonly string[]): readonly string[] {
  try {
    return lines();
  } catch {
    return [];
  }
}

const amount = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`;

const largestFirst = (counts: Readonly<Record<string, number>>): [string, number][] =>
  Object.entries(counts).sort(([, a], [, b]) => b - a);

function sum(all: readonly TransferCounts[]): TransferCounts {
  const add = (records: readonly Readonly<Record<string, number>>[]): Record<string, number> => {
    const total: Record<string, number> = Object.create(null);
    for (const [key, count] of records.flatMap((record) => Object.entries(record))) {
      total[key] = (total[key] ?? 0) + count;
    }
    return total;
  };
  return {
    transfers: all.reduce((total, { transfers }) => total + transfers, 0),
    failed: all.reduce((total, { failed }) => total + failed, 0),
    methods: add(all.map(({ methods }) => methods)),
    bytes: add(all.map(({ bytes }) => bytes)),
    copied: add(all.map(({ copied }) => copied)),
  };
}
