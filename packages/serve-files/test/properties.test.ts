/** Generated requests, with a model of RFC 9110 as oracle; and generated nonsense. */
import { utimesSync } from 'node:fs';
import { join } from 'node:path';
import { type Plan, type PlanPart, plan } from '@zerocopy/serve-files';
import test from 'ava';
import fc from 'fast-check';
import { ask, openDescriptors, pattern, tree, until, withFiles } from './harness.js';
import { type Conditions, expectedOutcome } from './model.js';

const SIZE = 100;
const content = pattern(SIZE);
const root = tree({ file: content, 'file.br': 'br', 'dir/index.html': 'x', '.env': 'SECRET', empty: '' });
const MODIFIED = 1_000_000_000;
utimesSync(join(root, 'file'), MODIFIED, MODIFIED);
const runs = Number(process.env.ZEROCOPY_FUZZ_RUNS ?? 300);

async function bodyOf(made: Plan): Promise<Buffer> {
  const { readSync } = await import('node:fs');
  const bytes = (part: PlanPart): Buffer => {
    if (!('file' in part)) return part;
    const buffer = Buffer.alloc(part.length);
    readSync(part.file.fd, buffer, 0, part.length, part.start);
    return buffer;
  };
  return Buffer.concat(made.parts.map(bytes));
}

const date = (offset: number): string => new Date((MODIFIED + offset) * 1000).toUTCString();

function conditions(etag: string): fc.Arbitrary<Conditions> {
  const tag = fc.constantFrom(etag, `W/${etag}`, '"other"', 'W/"other"');
  const tags = fc.oneof(
    fc.constant('*'),
    fc.array(tag, { minLength: 1, maxLength: 4 }).map((list) => list.join(', ')),
  );
  const dates = fc.oneof(fc.integer({ min: -2, max: 2 }).map(date), fc.constant('nonsense'));
  const number = fc.oneof(fc.integer({ min: 0, max: SIZE + 20 }), fc.constantFrom(SIZE - 1, SIZE, 0));
  const spec = fc.oneof(
    fc.tuple(number, number).map(([a, b]) => `${a}-${b}`),
    number.map((n) => `${n}-`),
    number.map((n) => `-${n}`),
  );
  const range = fc.oneof(
    {
      weight: 8,
      arbitrary: fc.array(spec, { minLength: 1, maxLength: 40 }).map((specs) => `bytes=${specs.join(',')}`),
    },
    { weight: 1, arbitrary: fc.constantFrom('bytes=', 'items=0-1', 'bytes=a-b', 'bytes=1-2,x') },
  );
  return fc.record(
    {
      'if-match': tags,
      'if-unmodified-since': dates,
      'if-none-match': tags,
      'if-modified-since': dates,
      'if-range': fc.oneof(tag, dates),
      range,
    },
    { requiredKeys: [] },
  );
}

test('conditions and ranges are as the model of RFC 9110 says', async (t) => {
  const first = await plan({ url: '/file' }, root);
  const etag = String(first.headers.etag);
  first.release();
  const method = fc.constantFrom('GET', 'GET', 'HEAD');
  await fc.assert(
    fc.asyncProperty(method, conditions(etag), async (asked, headers) => {
      using made = await plan({ method: asked, url: '/file', headers: { ...headers } }, root);
      const expected = expectedOutcome(asked, headers, { etag, modified: MODIFIED * 1000, size: SIZE });
      t.is(made.status, expected.status, JSON.stringify({ asked, headers }));
      if (made.status !== 200 && made.status !== 206) return;
      const body = await bodyOf(made);
      t.is(made.headers['content-length'], asked === 'HEAD' ? String(SIZE) : String(body.length));
      if (asked === 'HEAD') return t.is(body.length, 0);
      const { ranges } = expected;
      if (ranges === undefined) return t.true(body.equals(content));
      const [one] = ranges;
      if (ranges.length === 1 && one !== undefined) {
        t.is(made.headers['content-range'], `bytes ${one[0]}-${one[1]}/${SIZE}`);
        return t.true(body.equals(content.subarray(one[0], one[1] + 1)));
      }
      const text = body.toString('latin1');
      for (const [start, end] of ranges) {
        const part = `Content-Range: bytes ${start}-${end}/${SIZE}\r\n\r\n${content.toString('latin1', start, end + 1)}\r\n--`;
        t.true(text.includes(part));
      }
      return t.is(text.match(/Content-Range: /g)?.length, ranges.length);
    }),
    { numRuns: runs },
  );
});

const nasty = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      '..',
      '.',
      '',
      '%2e%2e',
      '%2f',
      '%5c',
      '\\',
      '%00',
      '%',
      '%zz',
      '%c0%ae',
      '.env',
      'file',
    ),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      'dir',
      'index.html',
      '~',
      'C:',
      'con',
      '%252e',
      '%u002e',
      ';',
      '?',
      '#',
      '//',
      'etc',
      'passwd',
    ),
  },
  { weight: 1, arbitrary: fc.string({ maxLength: 8 }) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 8 }) },
);
const target = fc.array(nasty, { maxLength: 12 }).map((names) => `/${names.join('/')}`);
const value = fc.string({ maxLength: 60 });
const field = fc.constantFrom(
  'range',
  'if-range',
  'if-match',
  'if-none-match',
  'if-modified-since',
  'if-unmodified-since',
  'accept',
  'accept-encoding',
  'accept-language',
);

test.serial('nonsense: never an error of the server, never out of the root, nothing left open', async (t) => {
  // The root, and the way to what its descriptors refer to, stay open from the first file on.
  (await plan({ url: '/file' }, root, { listing: true })).release();
  const before = openDescriptors();
  const options = { listing: true, precompressed: true, fallback: 'dir/index.html' };
  const headers = fc.array(fc.tuple(field, value), { maxLength: 5 }).map((fields) => Object.fromEntries(fields));
  await fc.assert(
    fc.asyncProperty(
      target,
      headers,
      fc.constantFrom('GET', 'HEAD', 'OPTIONS', 'POST'),
      async (url, fields, method) => {
        using made = await plan({ method, url, headers: fields }, root, options);
        t.true([200, 204, 206, 301, 304, 400, 404, 405, 406, 412, 416].includes(made.status), `${made.status} ${url}`);
        t.false((await bodyOf(made)).includes('SECRET'), url);
        for (const [name, text] of Object.entries(made.headers)) t.notRegex(String(text), /[\r\n]/, name);
        if (made.status === 301) t.regex(String(made.headers.location), /^\/(?![/\\])/);
      },
    ),
    { numRuns: runs },
  );
  await until(() => openDescriptors() <= before, 'every descriptor closed');
});

test('nonsense on a socket: an answer, and the server lives', (t) =>
  withFiles(root, { listing: true, precompressed: true }, async (port) => {
    const printable = fc.string({ maxLength: 40 }).map((text) => text.replace(/[^!-~]/g, '%'));
    const line = fc.tuple(field, printable).map(([name, text]) => `${name}: ${text}`);
    await fc.assert(
      fc.asyncProperty(printable, fc.array(line, { maxLength: 4 }), async (path, headers) => {
        const { status } = await ask(port, `/${path}`, { headers });
        t.true(status >= 200 && status < 500, `${status} ${path}`);
      }),
      { numRuns: Math.min(runs, 150) },
    );
    t.is((await ask(port, '/file')).status, 200);
  }));
