/**
 * `npm run conformance -- vite [--version V] [--keep]`: an application that Vite builds, with its assets precompressed, served by
 * the example of serve-files for node:http. Vite is installed by npm into a temporary directory, and is no dependency.
 */
import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http, { type IncomingHttpHeaders } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import zlib from 'node:zlib';

const { values } = parseArgs({
  options: { version: { type: 'string', default: '8' }, keep: { type: 'boolean', default: false } },
});

const SOURCES: Readonly<Record<string, string>> = {
  'package.json': '{ "name": "app", "private": true, "type": "module" }',
  'index.html':
    '<!doctype html><title>An application</title><div id="app"></div><script type="module" src="/src/main.js"></script>',
  'src/main.js': `import './style.css';
import logo from './logo.svg?url&no-inline';
document.querySelector('#app').innerHTML = \`<img src="\${logo}">\${${JSON.stringify('text '.repeat(500))}}\`;
if (location.pathname.startsWith('/about')) import('./about.js').then(({ about }) => about());`,
  'src/about.js': "export const about = () => { document.title = 'About'; };",
  'src/style.css': `body { color: navy; }\n${'.a { color: red; }\n'.repeat(100)}`,
  'src/logo.svg': '<svg xmlns="http://www.w3.org/2000/svg"><circle r="9"/></svg>',
  'public/robots.txt': 'User-agent: *\n',
};

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

const DECODE: Readonly<Record<string, (bytes: Buffer) => Buffer>> = {
  br: (bytes) => zlib.brotliDecompressSync(bytes),
  gzip: (bytes) => zlib.gunzipSync(bytes),
};

async function ask(port: number, path: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
  const request = http.get({ port, path, headers, agent: false });
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return { status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) };
}

function build(directory: string): string {
  for (const [name, text] of Object.entries(SOURCES)) {
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), text);
  }
  const run = (program: string, args: readonly string[]): void => {
    execFileSync(program, args, { cwd: directory, stdio: ['ignore', 'ignore', 'inherit'] });
  };
  run('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', `vite@${values.version}`]);
  run('npx', ['vite', 'build']);
  const root = join(directory, 'dist');
  for (const name of readdirSync(join(root, 'assets'))) {
    const path = join(root, 'assets', name);
    const content = readFileSync(path);
    writeFileSync(`${path}.br`, zlib.brotliCompressSync(content));
    writeFileSync(`${path}.gz`, zlib.gzipSync(content));
  }
  return root;
}

const findings: string[] = [];
function expect(right: boolean, what: string): void {
  if (!right) findings.push(what);
}

async function check(port: number, root: string): Promise<number> {
  const index = readFileSync(join(root, 'index.html'));
  const page = await ask(port, '/', { accept: 'text/html' });
  expect(page.status === 200 && page.body.equals(index), 'the page is served');
  expect(page.headers['cache-control'] === 'no-cache', 'the page is asked for again each time');
  const route = await ask(port, '/about/us', { accept: 'text/html,*/*' });
  expect(route.status === 200 && route.body.equals(index), 'a navigation to a route of the application is the page');
  const missing = await ask(port, '/assets/none-12345678.js', { accept: 'text/html' });
  expect(missing.status === 404, 'an asset that is missing is no page');
  const robots = await ask(port, '/robots.txt');
  expect(robots.headers['cache-control'] === 'no-cache', 'a name without a hash is not immutable');
  expect(robots.headers.vary === undefined, 'there is nothing to negotiate for a file without variants');

  const assets = readdirSync(join(root, 'assets')).filter((name) => !/\.(br|gz)$/.test(name));
  for (const name of assets) {
    const path = `/assets/${name}`;
    const content = readFileSync(join(root, 'assets', name));
    for (const [accepted, encoding] of [
      ['gzip, deflate, br, zstd', 'br'],
      ['gzip', 'gzip'],
      ['br;q=0, gzip;q=0.5', 'gzip'],
      ['identity', undefined],
    ] as const) {
      const { status, headers, body } = await ask(port, path, { 'accept-encoding': accepted });
      const decoded = encoding === undefined ? body : DECODE[encoding]?.(body);
      expect(status === 200 && headers['content-encoding'] === encoding, `${path}: ${accepted} is ${encoding}`);
      expect(decoded?.equals(content) === true, `${path}: the content by ${encoding}`);
      expect(headers.vary === 'Accept-Encoding', `${path}: Vary`);
      expect(headers['cache-control'] === 'public, max-age=31536000, immutable', `${path}: it is immutable`);
      const type = { js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml' }[
        name.slice(name.lastIndexOf('.') + 1)
      ];
      expect(headers['content-type']?.startsWith(type ?? '?') === true, `${path}: its type`);
      const again = { 'accept-encoding': accepted, 'if-none-match': String(headers.etag) };
      expect((await ask(port, path, again)).status === 304, `${path}: 304 by its tag, ${accepted}`);
    }
  }
  expect(assets.length >= 4, 'scripts, a style sheet and an image were built');
  return assets.length;
}

const directory = mkdtempSync(join(tmpdir(), 'zerocopy-vite-'));
try {
  const root = build(directory);
  const example = new URL('../../../../packages/serve-files/', import.meta.url);
  const fromPackage = (path: string): string => fileURLToPath(new URL(path, example));
  const child = fork(fromPackage('test/fixtures/run-example.mjs'), [fromPackage('examples/http.mjs'), root], {
    env: { ...process.env, PORT: '0' },
  });
  const [{ port }] = (await once(child, 'message')) as [{ port: number }];
  const count = await check(port, root);
  child.disconnect();
  await once(child, 'exit');
  const vite = JSON.parse(readFileSync(join(directory, 'node_modules/vite/package.json'), 'utf8')) as {
    version: string;
  };
  console.log(
    `Vite ${vite.version}, ${count} assets: ${findings.length === 0 ? 'nothing wrong' : findings.join('\n  ')}`,
  );
} finally {
  if (!values.keep) rmSync(directory, { recursive: true, force: true });
}
if (findings.length > 0) process.exitCode = 1;
