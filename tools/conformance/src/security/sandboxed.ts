/**
 * A child that forbids itself calls: `sandboxed.js MOMENT CODE CALL…`, before anything has been probed, or in the midst
 * of everything. Prints, as JSON, what went wrong and what the probe says.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { probe } from '@zerocopy/core-syscalls';
import { pattern } from '../traffic/traffic.js';
import { complaintOf, everything } from './everything.js';
import { forbid } from './sandbox.js';

export interface SandboxReport {
  readonly complaints: readonly string[];
  /** What failed, clearly: the name of the traffic, and the code. */
  readonly refused: readonly (readonly [name: string, code: string])[];
  /** The features that the probe has not found, and why. */
  readonly missing: Readonly<Record<string, string>>;
}

const [moment, code, ...calls] = process.argv.slice(2) as ['before' | 'during', 'EPERM' | 'ENOSYS', ...string[]];
const directory = mkdtempSync(join(tmpdir(), 'zerocopy-sandbox-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
const content = pattern(400_000);
const complaints: string[] = [];
const refused: [string, string][] = [];

/** Milliseconds after which something has come to a halt. */
const PATIENCE = 20_000;

function inTime<T>(promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('it does not end')), PATIENCE);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

async function runAll(round: string): Promise<void> {
  await Promise.all(
    everything.map(async (traffic, index) => {
      const setting = { directory: mkdtempSync(join(directory, `${round}-${index}-`)), content };
      traffic.prepare?.(setting);
      try {
        const deliveries = await inTime(traffic.run(setting));
        const complaint = complaintOf(setting, deliveries);
        if (complaint !== undefined) complaints.push(`${traffic.name}: ${complaint}`);
        for (const { error } of deliveries) {
          if (error === undefined) continue;
          if (typeof error.code === 'string') refused.push([traffic.name, error.code]);
          else complaints.push(`${traffic.name}: an error without a code: ${error.message}`);
        }
      } catch (error) {
        complaints.push(`${traffic.name}: ${error}`);
      }
    }),
  );
}

if (moment === 'before') forbid(calls, code);
else {
  probe();
  await runAll('free');
  setImmediate(() => setImmediate(() => forbid(calls, code)));
}
await runAll('sandboxed');
await runAll('again');
const { features } = probe();
const missing = Object.fromEntries(
  Object.entries(features)
    .filter(([, { available }]) => !available)
    .map(([name, { reason }]) => [name, reason ?? '']),
);
console.log(JSON.stringify({ complaints, refused, missing } satisfies SandboxReport));
process.exit();
