/** `npm run soak -- --minutes N`: mixed traffic with aborts for as long as told, and whether anything grows. */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { svgGraph, terminalGraph } from './graph.js';
import { LEAKS, type Leak } from './protocol.js';
import { findings, type Sample, TOLERANCES } from './samples.js';
import { soak } from './soak.js';

const HELP = `Every way of the catalogue, many at a time, with aborts, resets, stalls and other sides that vanish.

  --minutes N     how long, fractions allowed (default 5)
  --seed N        of everything that is left to chance (default: random, printed)
  --report FILE   where the graph goes, as an SVG (default soak-report.svg; none: no file)
  --leak WHAT     leaks something on purpose, to see that it is seen: ${LEAKS.join(', ')}
`;

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '5' },
    seed: { type: 'string' },
    report: { type: 'string', default: 'soak-report.svg' },
    leak: { type: 'string' },
    help: { type: 'boolean', short: 'h', default: false },
  },
});

/** No lines between rows. */
const COMPACT = { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' };

function numberOf(option: string, text: string, min: number): number {
  const number = Number(text);
  if (!Number.isFinite(number) || number < min)
    throw new RangeError(`--${option} takes a number from ${min}, not ${text}`);
  return number;
}

function leakOf(text: string | undefined): Leak | undefined {
  if (text !== undefined && !(LEAKS as readonly string[]).includes(text)) {
    throw new RangeError(`--leak takes one of ${LEAKS.join(', ')}, not ${text}`);
  }
  return text as Leak | undefined;
}

function printed(sample: Sample): string {
  const { at, quiet, descriptors, residentSet, mappings, threads, listeners, resources, transfers } = sample;
  const counts = `${descriptors} descriptors, ${mappings} mappings, ${threads} threads, ${listeners} listeners, ${resources} handles`;
  return `${at.toFixed(0).padStart(5)} s ${quiet ? 'quiet' : `${transfers} transfers`.padEnd(5)}: ${residentSet.toFixed(0)} MiB, ${counts}`;
}

async function main(): Promise<number> {
  if (values.help) {
    console.log(HELP);
    return 0;
  }
  const minutes = numberOf('minutes', values.minutes, 0.05);
  const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 30) : numberOf('seed', values.seed, 0);
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort());
  console.log(`${minutes} minutes, --seed ${seed}`);
  const { samples, wrong, counts, vanished } = await soak({
    minutes,
    seed,
    leak: leakOf(values.leak),
    signal: interrupted.signal,
    onSample: (sample) => process.stderr.write(`${printed(sample)}\n`),
    onWrong: (what) => process.stderr.write(`✖ ${what}\n`),
  });
  const ends = new Table({
    head: ['what was done', 'whole', 'broken off'],
    colAligns: ['left', 'right', 'right'],
    chars: COMPACT,
  });
  for (const [what, { whole, brokenOff }] of Object.entries(counts).sort()) ends.push([what, whole, brokenOff]);
  ends.push(['all other sides vanished', '', vanished]);
  console.log(ends.toString());
  console.log(`\n${terminalGraph(samples)}\n`);
  if (values.report !== 'none') {
    writeFileSync(values.report, svgGraph(samples, `soak, ${minutes} minutes, seed ${seed}`));
    console.log(`${values.report} has the same in detail`);
  }
  const found = findings(samples);
  const verdict = new Table({
    chars: COMPACT,
    head: ['at quiet moments', 'first', 'last', 'growth', 'allowed', 'peak under load', ''],
  });
  for (const { metric, first, last, peak, growth, allowed, grows } of found) {
    const { title } = TOLERANCES[metric];
    const figures = [first, last, growth].map((figure) => figure.toFixed(1));
    verdict.push([title, ...figures, allowed, peak.toFixed(1), grows ? '✖ grows' : '✔']);
  }
  console.log(verdict.toString());
  for (const what of wrong.slice(0, 10)) console.log(`✖ ${what}`);
  const growing = found.filter(({ grows }) => grows).length;
  const good = growing === 0 && wrong.length === 0;
  console.log(good ? 'nothing grows, and no byte was wrong' : `${growing} grow, ${wrong.length} went wrong`);
  return good ? 0 : 1;
}

process.exitCode = await main();
