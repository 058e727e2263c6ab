/** One stream through a process of its own, which looks at its memory as it goes. */
import { createReadStream, readFileSync } from 'node:fs';
import { createMmapReadStream } from '@zerocopy/mmap-buffer';

export interface StreamReport {
  readonly bytes: number;
  readonly cpuSeconds: number;
  /** Bytes more than before, at the peak: pages that belong to this process alone, and to no file. */
  readonly anonymous: number;
  /** The same of all pages that no other process has mapped, those of the page cache included. */
  readonly private: number;
}

const [name = '', path = ''] = process.argv.slice(2);

/** Sums of /proc/self/smaps_rollup, in bytes. */
function memory(): { anonymous: number; private: number } {
  const rollup = readFileSync('/proc/self/smaps_rollup', 'utf8');
  const sum = (field: string): number => Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(rollup)?.[1] ?? 0) * 1024;
  return { anonymous: sum('Anonymous'), private: sum('Private_Clean') + sum('Private_Dirty') };
}

const before = memory();
const peak = { ...before };
let looking = 0;
let bytes = 0;
let found = 0;
const startedWith = process.cpuUsage();
const stream = name === 'node:fs' ? createReadStream(path) : createMmapReadStream(path);
let next = 0;
for await (const chunk of stream as AsyncIterable<Buffer>) {
  found += chunk.indexOf(10);
  bytes += chunk.length;
  if (bytes < next) continue;
  next = bytes + 4 * 1024 * 1024;
  const started = process.cpuUsage();
  const now = memory();
  peak.anonymous = Math.max(peak.anonymous, now.anonymous);
  peak.private = Math.max(peak.private, now.private);
  const { user, system } = process.cpuUsage(started);
  looking += user + system;
}
const { user, system } = process.cpuUsage(startedWith);
const report: StreamReport = {
  bytes: found < 0 ? bytes : 0,
  cpuSeconds: (user + system - looking) / 1e6,
  anonymous: peak.anonymous - before.anonymous,
  private: peak.private - before.private,
};
process.send?.(report);
process.disconnect?.();
