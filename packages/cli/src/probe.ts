/** `zerocopy probe`. */
import { closeSync, constants, openSync, readdirSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { type Feature, formatReport, type PathReport, probe, probePath } from '@zerocopy/core-syscalls';
import { nameOfDescriptor } from '@zerocopy/core-syscalls/descriptors';
import { type Call, PARTLY } from './command.js';
import { wrap } from './help.js';
import type { Terminal } from './terminal.js';

/** Prints the report. @returns 0, 1 where a path cannot be examined, or {@link PARTLY}. */
export async function run(call: Call, terminal: Terminal): Promise<number> {
  const report = probe();
  const paths = call.operands.map(examine);
  if (call.has('json')) terminal.out(JSON.stringify({ ...report, paths }, undefined, 2));
  else {
    const lines = formatReport(report).split('\n');
    terminal.out(lines.flatMap((line) => folded(line, terminal)).join('\n'));
    for (const path of paths) terminal.out(formatPath(path, terminal));
  }
  const unseen = paths.filter(({ filesystem }) => filesystem === undefined);
  if (unseen.length > 0) {
    for (const { path, sendfileSource } of unseen) terminal.note(`zerocopy probe: ${path}: ${sendfileSource.reason}`);
    return 1;
  }
  return Object.values(report.features).every(({ available }) => available) ? 0 : PARTLY;
}

const O_TMPFILE = 0o20200000;

/** Of a directory: what a file in it can do. */
function examine(path: string): PathReport {
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) return probePath(path);
  let fd: number;
  try {
    fd = openUnnamed(path);
  } catch {
    return ofAnyFileIn(path);
  }
  try {
    return { ...probePath(nameOfDescriptor(fd)), path };
  } finally {
    closeSync(fd);
  }
}

/** A file without a name, which no other process sees: not empty, and not open for writing, since an answer may depend on both. */
function openUnnamed(directory: string): number {
  const fd = openSync(directory, O_TMPFILE | constants.O_RDWR, 0o600);
  try {
    writeSync(fd, '.');
    return openSync(nameOfDescriptor(fd), constants.O_RDONLY);
  } finally {
    closeSync(fd);
  }
}

/** Where none can be made without a name: of the first file that there is. */
function ofAnyFileIn(directory: string): PathReport {
  try {
    const file = readdirSync(directory, { withFileTypes: true }).find((entry) => entry.isFile());
    if (file !== undefined) return { ...probePath(join(directory, file.name)), path: directory };
  } catch {} // the report says why it cannot be examined
  return probePath(directory);
}

/** In lines that fit, as far as people look at them; what is left of a line stands below its second column. */
function folded(line: string, terminal: Terminal): string[] {
  if (terminal.stdio.stdout.isTTY !== true || stripVTControlCharacters(line).length <= terminal.width) return [line];
  const [head = ''] = /^ *\S.*?\S {2,}/.exec(line) ?? [];
  const indent = stripVTControlCharacters(head).length;
  const [first = '', ...rest] = wrap(line.slice(head.length), terminal.width - indent);
  return [head + first, ...rest.map((text) => ' '.repeat(indent) + text)];
}

const ROWS = [
  ['sendfileSource', 'sendfile'],
  ['reflink', 'reflink'],
  ['directIo', 'directIo'],
  ['lease', 'lease'],
] as const;

/** Where the last column of a row begins. */
const INDENT = 19;

function formatPath(report: PathReport, terminal: Terminal): string {
  const { path, filesystem, directIo } = report;
  const lines = [`${terminal.paint('bold', path)}  ${filesystem ?? 'cannot be examined'}`];
  for (const [key, name] of ROWS) {
    const { available, reason }: Feature = report[key];
    const mark = available ? terminal.paint('green', '✔') : terminal.paint('red', '✖');
    const { offsetAlign } = directIo;
    const fact = key === 'directIo' && available ? `offsets and lengths in multiples of ${offsetAlign} bytes` : '';
    const [text = '', ...rest] = wrap(available ? fact : (reason ?? ''), terminal.width - INDENT);
    lines.push(`  ${mark} ${name.padEnd(14)} ${text}`.trimEnd(), ...rest.map((line) => ' '.repeat(INDENT) + line));
  }
  return lines.join('\n');
}
