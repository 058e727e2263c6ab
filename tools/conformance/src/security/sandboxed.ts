/**
 * A child that forbids itself calls: `sandboxed.js MOMENT CODE CALL…`, before anything has been probed, or in the midst
 * of everything. Prints, as JSON, what went wrong and what the probe says.
 */
import { probe } from '@zerocopy/core-syscalls';
import { pattern } from '@zerocopy/testing/bytes';
import { temporaryDirectory } from '@zerocopy/testing/files';
import { runEverything } from './everything.js';
import { forbid } from './sandbox.js';

export interface SandboxReport {
  readonly complaints: readonly string[];
  /** What failed, clearly: the name of the way, and the code. */
  readonly refused: readonly (readonly [name: string, code: string])[];
  /** The features that the probe has not found, and why. */
  readonly missing: Readonly<Record<string, string>>;
}

const [moment, code, ...calls] = process.argv.slice(2) as ['before' | 'during', 'EPERM' | 'ENOSYS', ...string[]];
const directory = temporaryDirectory(undefined, 'sandbox');
const content = pattern(400_000);
const complaints: string[] = [];
const refused: [string, string][] = [];

async function runAll(): Promise<void> {
  for (const { way, deliveries, complaint } of await runEverything(content, directory)) {
    if (complaint !== undefined) complaints.push(`${way.name}: ${complaint}`);
    for (const { error } of deliveries) {
      if (error === undefined) continue;
      if (typeof error.code === 'string') refused.push([way.name, error.code]);
      else complaints.push(`${way.name}: an error without a code: ${error.message}`);
    }
  }
}

if (moment === 'before') forbid(calls, code);
else {
  probe();
  await runAll();
  setImmediate(() => setImmediate(() => forbid(calls, code)));
}
await runAll();
await runAll();
const { features } = probe();
const missing = Object.fromEntries(
  Object.entries(features)
    .filter(([, { available }]) => !available)
    .map(([name, { reason }]) => [name, reason ?? '']),
);
console.log(JSON.stringify({ complaints, refused, missing } satisfies SandboxReport));
process.exit();
