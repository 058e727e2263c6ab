import test from 'ava';
import { runScenario } from '../dist/race/runner.js';
import { EFFORTS } from '../dist/race/scenario.js';
import { leadingChart } from '../dist/report/chart.js';
import { pageOf } from '../dist/report/page.js';
import { doubtsAbout, lossesOf, type Report } from '../dist/report/report.js';
import { reportText } from '../dist/report/text.js';
import { contestant, type FakeOptions, fakeScenario } from './fake-scenario.js';
import { sampleReport } from './sample-report.js';

const effort = { ...EFFORTS.quick, rounds: 3 };

async function reportOf(options: FakeOptions): Promise<Report> {
  const { scenario } = fakeScenario(options);
  return { machine: sampleReport.machine, scenarios: [await runScenario(scenario, { effort, pin: false })] };
}

test('a loss: a peer beyond the best of ours, by more than a twentieth and than the rounds differ', async (t) => {
  const cpu: Record<string, number> = { ours: 2, 'ours-slow': 9, node: 1, bare: 0.5 };
  const report = await reportOf({
    contestants: [
      contestant('ours', { role: 'ours' }),
      contestant('ours-slow', { role: 'ours' }),
      contestant('node'),
      contestant('bare', { role: 'reference' }),
    ],
    turn: (who) => ({ cpu: cpu[who] as number, speed: 1, rest: who === 'node' ? 0 : 1 }),
  });
  const losses = lossesOf(report);
  t.deepEqual(
    losses.map(({ peer, ours, ratio, metric, why }) => [peer.name, ours.name, ratio, metric.key, why]),
    [['node', 'ours', 2, 'cpu', 'it has it <easier>']],
  );
  t.regex(reportText(report), /node is 2 times better than ours \(CPU\)/);
});

test('no loss where the rounds overlap, or where it is a tie', async (t) => {
  let turns = 0;
  const overlapping = await reportOf({
    turn: (who) => ({ cpu: who === 'ours' ? 2 + (++turns % 3) : 2 + (turns % 2), speed: 1, rest: 1 }),
  });
  t.deepEqual(lossesOf(overlapping), []);
  const tie = await reportOf({ turn: (who) => ({ cpu: who === 'ours' ? 1.04 : 1, speed: 1, rest: 1 }) });
  t.deepEqual(lossesOf(tie), []);
  t.regex(reportText(tie), /Nobody is ahead of us/);
});

test('a run that cannot be trusted says so', async (t) => {
  let turns = 0;
  const noisy = await reportOf({ turn: () => ({ cpu: 1 + (turns++ % 4), speed: 1, rest: 1 }) });
  t.regex(doubtsAbout(noisy).join(), /too noisy/);
  t.regex(reportText(noisy), /Beware: .* too noisy/);
  const { machine } = noisy;
  const disturbed = { scenarios: [], machine: { ...machine, stolen: 20, load: 2, cores: 2, pinned: false } };
  t.is(doubtsAbout(disturbed).length, 3);
  t.deepEqual(doubtsAbout({ scenarios: [], machine }), []);
});

test('the page needs nothing but itself, and every chart has a table beneath it', (t) => {
  const page = pageOf(sampleReport);
  t.notRegex(page.replaceAll('http://www.w3.org/', ''), /(src|href)="(?!#|data:)|url\(|@import|<script/);
  const figures = page.match(/<figure>[\s\S]*?<\/figure>/g) ?? [];
  t.true(figures.length > 3);
  for (const figure of figures) {
    t.is(figure.match(/<svg /g)?.length, 2);
    t.is(figure.match(/<table>/g)?.length, 1);
    t.true(figure.indexOf('<table>') > figure.lastIndexOf('</svg>'));
  }
});

test('what is shown is escaped', async (t) => {
  const page = pageOf(await reportOf({ contestants: [contestant('<b>ours', { role: 'ours' }), contestant('node')] }));
  t.true(page.includes('A race &lt;of&gt; nobody &amp; &quot;nothing&quot;'));
  t.false(page.includes('<b>ours'));
});

test('axes are labelled with units, and who is not installed is in the table', (t) => {
  const page = pageOf(sampleReport);
  for (const text of ['CPU, s (less is better)', 'speed, m/s (more is better)', '>size<', '1 KiB', '1 MiB']) {
    t.true(page.includes(text), text);
  }
  t.regex(page, /<th scope="row">absent<\/th><td>not installed<\/td>/);
  t.regex(page, /CPU grows in proportion with the size \(exponent 1\.00; 1,000,?\d* times/);
});

test('the chart for the README is an SVG with date and machine, for light and dark', (t) => {
  const svg = leadingChart(sampleReport);
  t.regex(svg, /^<svg [^>]*viewBox=[^>]*aria-label=/);
  t.true(svg.includes(sampleReport.machine.date));
  t.true(svg.includes(sampleReport.machine.processor));
  t.regex(svg, /prefers-color-scheme:dark/);
  t.notRegex(svg, /#(333|54555a|dbdee4)\b/i);
});
