/** `zerocopy probe`. */
import { type Feature, formatReport, type PathReport, probe, probePath } from '@zerocopy/core-syscalls';
import type { Call } from './command.js';
import type { Terminal } from './terminal.js';

/** Something is not there, and the rest is. */
export const PARTLY = 3;

/** Prints the report. @returns 0, 1 where a path cannot be examined, or {@link PARTLY}. */
export async function run(call: Call, terminal: Terminal): Promise<number> {
  const report = probe();
  const paths = call.operands.map((path) => probePath(path));
  if (call.has('json')) terminal.out(JSON.stringify({ ...report, paths }, undefined, 2));
  else {
    terminal.out(formatReport(report));
    for (const path of paths) terminal.out(formatPath(path, terminal));
  }
  const unseen = paths.filter(({ filesystem }) => filesystem === undefined);
  if (unseen.length > 0) {
    for (const { path, sendfileSource } of unseen) terminal.note(`zerocopy probe: ${path}: ${sendfileSource.reason}`);
    return 1;
  }
  return Object.values(report.features).every(({ available }) => available) ? 0 : PARTLY;
}

const ROWS = [
  ['sendfileSource', 'sendfile'],
  ['reflink', 'reflink'],
  ['directIo', 'directIo'],
  ['lease', 'lease'],
] as const;

function formatPath(report: PathReport, terminal: Terminal): string {
  const { path, filesystem, directIo } = report;
  const lines = [`${terminal.paint('bold', path)}  ${filesystem ?? 'cannot be examined'}`];
  for (const [key, name] of ROWS) {
    const { available, reason }: Feature = report[key];
    const mark = available ? terminal.paint('green', '✔') : terminal.paint('red', '✖');
    const { offsetAlign } = directIo;
    const fact = key === 'directIo' && available ? `offsets and lengths in multiples of ${offsetAlign} bytes` : '';
    lines.push(`  ${mark} ${name.padEnd(14)}  ${available ? fact : (reason ?? '')}`.trimEnd());
  }
  return lines.join('\n');
}
