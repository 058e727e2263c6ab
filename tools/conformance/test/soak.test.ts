/** The soak, for some seconds: that it runs, that it judges, and that a leak is seen. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { svgGraph, terminalGraph } from '@zerocopy/conformance/soak/graph';
import { findings, type Metric, type Sample } from '@zerocopy/conformance/soak/samples';
import { soak } from '@zerocopy/conformance/soak/soak';
import { feature } from '@zerocopy/core-syscalls';
import { temporaryDirectory } from '@zerocopy/testing/files';
import { isLongRun } from '@zerocopy/testing/kernel-tests';
import test, { type TestFn } from 'ava';

const MAIN = createRequire(import.meta.url).resolve('@zerocopy/conformance/soak/main');
const splice = feature('splice');
// `npm run soak` is a command of its own. The judgement and the graph are tested every day.
const soakTest = (splice.available && isLongRun ? test.serial : test.serial.skip) as TestFn;
const why = !isLongRun ? ' (a long run: ZEROCOPY_LONG=1)' : splice.available ? '' : ` (${splice.reason})`;
/** What a few seconds can tell; memory and mappings are still settling. */
const COUNTED: readonly Metric[] = ['descriptors', 'threads', 'listeners', 'resources', 'transfers', 'pipesInUse'];

soakTest(`some seconds of mixed traffic: no byte is wrong, and nothing is left at quiet moments${why}`, async (t) => {
  t.timeout(180_000);
  const seed = Math.floor(Math.random() * 2 ** 30);
  const { samples, wrong, counts } = await soak({ minutes: 0.05, seed });
  t.log(`seed ${seed}`);
  t.deepEqual(wrong, []);
  t.deepEqual(
    // In some seconds one or two more is what happens to be there, and no slope.
    findings(samples).filter(({ metric, grows, first, last }) => grows && last - first > 2 && COUNTED.includes(metric)),
    [],
  );
  for (const how of ['whole', 'brokenOff'] as const) {
    const some = Object.values(counts).filter((count) => count[how] > 0);
    t.true(some.length > 5, `${how}: ${Object.keys(counts).join(', ')}`);
  }
});

soakTest(`with a leak it ends with status 1, and says what grows; its graph is there${why}`, async (t) => {
  t.timeout(180_000);
  const directory = temporaryDirectory(undefined, 'soak-test');
  const report = join(directory, 'report.svg');
  const child = spawn(
    process.execPath,
    [MAIN, '--minutes', '0.05', '--seed', '1', '--leak', 'descriptors', '--report', report],
    { env: { ...process.env, TMPDIR: directory }, stdio: ['ignore', 'pipe', 'ignore'] },
  );
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  const [code] = await once(child, 'close');
  t.is(code, 1);
  t.regex(text, /descriptors .*✖ grows/);
  t.regex(readFileSync(report, 'utf8'), /^<svg/);
  t.true(existsSync(report));
  t.deepEqual(readdirSync(directory), ['report.svg'], 'nothing else is left');
});

const flat: Omit<Sample, 'at'> = {
  quiet: true,
  descriptors: 30,
  residentSet: 100,
  mappings: 300,
  threads: 11,
  listeners: 40,
  resources: 10,
  transfers: 0,
  pipesInUse: 0,
  threadsGone: 0,
};
const series = (change: (n: number) => Partial<Sample>): Sample[] =>
  Array.from({ length: 40 }, (_, n) => ({ ...flat, at: n * 20, ...change(n) }));
const growing = (samples: readonly Sample[]): Metric[] =>
  findings(samples).flatMap(({ metric, grows }) => (grows ? [metric] : []));

test('the verdict: a trend is one, an outlier, a warm-up and what happens under load are not', (t) => {
  t.deepEqual(growing(series(() => ({}))), []);
  t.deepEqual(growing(series((n) => ({ descriptors: 30 + n / 5 }))), ['descriptors']);
  t.deepEqual(growing(series((n) => ({ descriptors: n === 25 ? 90 : 30 }))), []);
  t.deepEqual(growing(series((n) => ({ residentSet: Math.min(100, 40 + 8 * n) }))), []);
  t.deepEqual(growing(series((n) => ({ residentSet: 100 + n }))), ['residentSet']);
  t.deepEqual(growing(series((n) => (n % 2 === 0 ? {} : { quiet: false, descriptors: 90 + n, transfers: 8 }))), []);
  t.deepEqual(growing(series((n) => ({ transfers: n === 30 ? 1 : 0 }))), ['transfers']);
  t.deepEqual(growing(series((n) => ({ mappings: 300 + 3 * n }))), ['mappings']);
  t.deepEqual(growing(series((n) => ({ mappings: 300 + 3 * n, threadsGone: n }))), []);
  t.throws(() => findings([]), { message: /too few/ });
});

test('the graphs: each metric, in the terminal and as an SVG', (t) => {
  const samples = series((n) => ({ residentSet: 100 + Math.sin(n) }));
  const text = terminalGraph(samples);
  const svg = svgGraph(samples, 'a title of its own');
  for (const title of ['descriptors', 'resident memory', 'mappings', 'threads', 'listeners', 'timers and handles']) {
    t.true(text.includes(title), title);
    t.true(svg.includes(title), title);
  }
  t.true(svg.includes('a title of its own'));
});
