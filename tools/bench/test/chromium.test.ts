/** The page in a real browser, where one is installed. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { temporaryDirectory } from '@zerocopy/testing/files';
import test from 'ava';
import { type Browser, launch, type Page } from 'puppeteer-core';
import { pageOf } from '../dist/report/page.js';
import { sampleReport } from './sample-report.js';

const program = ['chromium', 'chromium-browser', 'google-chrome'].find(
  (name) => spawnSync(name, ['--version']).status === 0,
);
const inChromium =
  program === undefined
    ? (title: string, _run: unknown) => test.skip(`${title} (Chromium is not installed)`, () => {})
    : test.serial;

const directory = temporaryDirectory(undefined, 'page');
const file = join(directory, 'page.html');
let browser: Browser | undefined;

test.before(async () => {
  if (program === undefined) return;
  writeFileSync(file, pageOf(sampleReport));
  const executablePath = spawnSync('which', [program], { encoding: 'utf8' }).stdout.trim();
  browser = await launch({
    executablePath,
    args: ['--no-sandbox', '--disable-dev-shm-usage'],
    userDataDir: join(directory, 'profile'),
  });
});

test.after.always(async () => {
  await browser?.close();
});

interface Look {
  readonly width: number;
  readonly dark?: boolean;
}

async function open({ width, dark = false }: Look): Promise<{ page: Page; problems: string[]; requests: string[] }> {
  const page = await (browser as Browser).newPage();
  const problems: string[] = [];
  const requests: string[] = [];
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('console', (message) => problems.push(message.text()));
  page.on('request', (request) => requests.push(request.url()));
  await page.setViewport({ width, height: 800 });
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }]);
  await page.goto(pathToFileURL(file).href);
  return { page, problems, requests };
}

/** Relative luminance from 0 to 1, roughly, of `rgb(…)`. */
const luminance = (colour: string): number => {
  const [red = 0, green = 0, blue = 0] = (colour.match(/[\d.]+/g) ?? []).map((part) => Number(part) / 255);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};

inChromium('it loads nothing but itself, and complains of nothing', async (t) => {
  const { page, problems, requests } = await open({ width: 1000 });
  t.deepEqual(problems, []);
  t.deepEqual(
    requests.filter((url) => !url.startsWith('data:')),
    [pathToFileURL(file).href],
  );
  await page.close();
});

for (const width of [360, 1000]) {
  inChromium(
    `at ${width} pixels nothing sticks out, every figure shows one chart, and its text can be read`,
    async (t) => {
      const { page } = await open({ width });
      const seen = await page.evaluate(() => ({
        overflow: document.documentElement.scrollWidth - window.innerWidth,
        figures: [...document.querySelectorAll('figure')].map((figure) => {
          const shown = [...figure.querySelectorAll('svg')].filter((svg) => svg.getBoundingClientRect().height > 0);
          const texts = shown.flatMap((svg) => [...svg.querySelectorAll('text')]);
          const box = shown[0]?.getBoundingClientRect();
          return {
            shown: shown.length,
            height: box?.height ?? 0,
            smallest: Math.min(...texts.map((text) => text.getBoundingClientRect().height)),
            outside: texts
              .filter((text) => {
                const { left, right } = text.getBoundingClientRect();
                return box === undefined || left < box.left - 1 || right > box.right + 1;
              })
              .map((text) => text.textContent),
            rows: figure.querySelectorAll('tbody tr').length,
          };
        }),
      }));
      t.true(seen.overflow <= 0, `${seen.overflow} pixels stick out`);
      t.true(seen.figures.length > 3);
      for (const figure of seen.figures) {
        t.is(figure.shown, 1);
        t.true(figure.height > 80);
        t.true(figure.smallest >= 9, `text of ${figure.smallest} pixels`);
        t.deepEqual(figure.outside, []);
        t.is(figure.rows, 5);
      }
      await page.close();
    },
  );
}

inChromium('light and dark: text stands out from its ground, in charts too', async (t) => {
  for (const dark of [false, true]) {
    const { page } = await open({ width: 1000, dark });
    const colours = await page.evaluate(() => {
      const text = document.querySelector('svg.wide text') as Element;
      return {
        ground: getComputedStyle(document.body).backgroundColor,
        text: getComputedStyle(document.body).color,
        chart: getComputedStyle(text).fill,
      };
    });
    const ground = luminance(colours.ground);
    t.is(ground < 0.5, dark);
    for (const colour of [colours.text, colours.chart]) t.true(Math.abs(luminance(colour) - ground) > 0.3, colour);
    await page.close();
  }
});

inChromium('on paper: light whatever the screen is, wide charts, all of the tables', async (t) => {
  const { page } = await open({ width: 360, dark: true });
  await page.emulateMediaType('print');
  await page.setViewport({ width: 794, height: 1123 }); // A4 at 96 dots per inch
  const seen = await page.evaluate(() => ({
    ground: getComputedStyle(document.documentElement).getPropertyValue('--page').trim(),
    wide: [...document.querySelectorAll('svg.wide')].every((svg) => svg.getBoundingClientRect().height > 0),
    cut: [...document.querySelectorAll('.table')].filter((one) => getComputedStyle(one).overflowX !== 'visible').length,
  }));
  t.deepEqual(seen, { ground: '#ffffff', wide: true, cut: 0 });
  const pdf = await page.pdf({ format: 'A4' });
  t.true(pdf.length > 10_000);
  await page.close();
});
