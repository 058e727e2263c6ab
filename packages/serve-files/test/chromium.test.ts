/**
 * Listings, an application of one page, and media with ranges, in a real browser, where one is installed: by
 * `npm run conformance -- browser`, since it takes longer than all other tests together.
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync } from 'node:zlib';
import type { SentInfo } from '@zerocopy/serve-files';
import test, { type TestFn } from 'ava';
import { type Browser, launch, type Page } from 'puppeteer-core';
import { temporaryDirectory, tree, until, withFiles } from './harness.js';

const wanted = process.env.ZEROCOPY_BROWSER !== undefined;
const program = ['chromium', 'chromium-browser', 'google-chrome'].find(
  (name) => wanted && spawnSync(name, ['--version']).status === 0,
);
const reason = wanted ? 'Chromium is not installed' : 'a run of its own: npm run conformance -- browser';
const inChromium = (
  program === undefined ? (title: string) => test.skip(`${title} (${reason})`, () => {}) : test.serial
) as TestFn;

let browser: Browser | undefined;
test.before(async () => {
  if (program === undefined) return;
  const executablePath = spawnSync('which', [program], { encoding: 'utf8' }).stdout.trim();
  browser = await launch({
    executablePath,
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--autoplay-policy=no-user-gesture-required'],
    userDataDir: join(temporaryDirectory(), 'profile'),
  });
});
test.after.always(() => browser?.close());

async function open(url: string, width = 1000, dark = false): Promise<{ page: Page; problems: string[] }> {
  const page = await (browser as Browser).newPage();
  const problems: string[] = [];
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('requestfailed', (request) => problems.push(request.url()));
  await page.setViewport({ width, height: 800 });
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }]);
  await page.goto(url, { waitUntil: 'load' });
  return { page, problems };
}

/** Ten minutes of silence: 8 bits, 8 kHz. */
function wave(): Buffer {
  const samples = 8000 * 600;
  const header = Buffer.alloc(44);
  header.write('RIFF', 0);
  header.writeUInt32LE(36 + samples, 4);
  header.write('WAVEfmt ', 8);
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20);
  header.writeUInt16LE(1, 22);
  header.writeUInt32LE(8000, 24);
  header.writeUInt32LE(8000, 28);
  header.writeUInt16LE(1, 32);
  header.writeUInt16LE(8, 34);
  header.write('data', 36);
  header.writeUInt32LE(samples, 40);
  return Buffer.concat([header, Buffer.alloc(samples, 128)]);
}

inChromium('a listing: on a phone and wide, dark and light, sorted by its links, without a script', async (t) => {
  const root = tree({
    'docs/read me.txt': 'x',
    'a very long name that has to be broken somewhere because no phone is as wide as this one is.tar.gz': 'x'.repeat(
      5_000_000,
    ),
    'small.js': 'x',
    'empty/x': '',
    'b.png': 'x'.repeat(2000),
  });
  await withFiles(root, { listing: true }, async (port) => {
    const colours = new Set<string>();
    for (const [width, dark] of [
      [360, true],
      [360, false],
      [1200, true],
      [1200, false],
    ] as const) {
      const { page, problems } = await open(`http://127.0.0.1:${port}/`, width, dark);
      await page.setJavaScriptEnabled(false);
      const wide = await page.$eval('html', (html) => html.scrollWidth - html.clientWidth);
      t.is(wide, 0, `no scrolling to the side at ${width}`);
      colours.add(await page.$eval('body', (body) => getComputedStyle(body).backgroundColor));
      const shot = process.env.ZEROCOPY_SCREENSHOTS;
      if (shot !== undefined)
        await page.screenshot({ path: `${join(shot, `listing-${width}-${dark ? 'dark' : 'light'}`)}.png` });
      const names = (): Promise<string[]> =>
        page.$$eval('td.name a', (links) => links.map((link) => link.textContent ?? ''));
      const largest = (await names()).findIndex((name) => name.includes('very long name'));
      t.is(largest, 2, 'by name, after the directories');
      await Promise.all([page.waitForNavigation(), page.click('th.size a')]);
      t.regex((await names()).at(-1) ?? '', /very long name/, 'by size');
      await Promise.all([page.waitForNavigation(), page.click('th.size a')]);
      t.regex((await names())[2] ?? '', /very long name/, 'the largest first');
      t.is(await page.$eval('th[aria-sort]', (cell) => cell.getAttribute('aria-sort')), 'descending');
      t.deepEqual(problems, []);
      await page.close();
    }
    t.is(colours.size, 2);
  });
});

inChromium('an application of one page, its scripts precompressed and kept for ever', async (t) => {
  const script = `document.title = 'started at ' + location.pathname;`;
  const root = tree({
    'index.html':
      '<!doctype html><title>waiting</title><script type="module" src="/assets/index-Bv3xJ0ka.js"></script>',
    'assets/index-Bv3xJ0ka.js': script,
    'assets/index-Bv3xJ0ka.js.br': brotliCompressSync(script),
  });
  const infos: SentInfo[] = [];
  const options = {
    fallback: 'index.html',
    precompressed: true,
    immutable: true,
    onSent: (info: SentInfo) => infos.push(info),
  };
  await withFiles(root, options, async (port) => {
    const { page, problems } = await open(`http://localhost:${port}/users/1`);
    await page.waitForFunction('document.title !== "waiting"');
    t.is(await page.title(), 'started at /users/1');
    await page.goto(`http://localhost:${port}/users/2`, { waitUntil: 'load' });
    await page.waitForFunction('document.title !== "waiting"');
    t.is(await page.title(), 'started at /users/2');
    t.is(infos.filter(({ path }) => path.endsWith('.js')).length, 1, 'asked for once');
    t.deepEqual(problems, []);
    await page.close();
  });
});

inChromium('media are played and sought by ranges', async (t) => {
  const root = tree({
    'index.html': '<!doctype html><title>media</title><audio src="long.wav" preload="metadata" muted></audio>',
  });
  writeFileSync(join(root, 'long.wav'), wave());
  const infos: SentInfo[] = [];
  await withFiles(root, { onSent: (info) => infos.push(info), rate: 4_000_000 }, async (port) => {
    const { page } = await open(`http://127.0.0.1:${port}/`);
    const reached = await page.$eval('audio', async (audio) => {
      if (audio.readyState === 0) await new Promise((resolve) => audio.addEventListener('loadedmetadata', resolve));
      audio.currentTime = 550;
      await new Promise((resolve) => audio.addEventListener('seeked', resolve, { once: true }));
      return [Math.round(audio.duration), Math.round(audio.currentTime)];
    });
    t.deepEqual(reached, [600, 550]);
    await page.close();
    await until(() => infos.some(({ path, status }) => path === '/long.wav' && status === 206), 'a range');
  });
});
