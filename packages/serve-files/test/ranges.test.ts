/** Ranges, single and several, and If-Range. */
import { utimesSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { ask, KiB, pattern, tree, withFiles } from './harness.js';

const content = pattern(1000);
const big = pattern(300 * KiB);
const root = tree({ file: content, empty: '', 'big.bin': big });
utimesSync(join(root, 'file'), 1_000_000_000, 1_000_000_000);

test('one range', (t) =>
  withFiles(root, {}, async (port) => {
    const cases: readonly (readonly [range: string, start: number, end: number])[] = [
      ['bytes=0-0', 0, 0],
      ['bytes=0-99', 0, 99],
      ['bytes=100-199', 100, 199],
      ['bytes=900-', 900, 999],
      ['bytes=990-2000', 990, 999],
      ['bytes=0-99999999999999999999999', 0, 999],
      ['bytes=-1', 999, 999],
      ['bytes=-100', 900, 999],
      ['bytes=-1000', 0, 999],
      ['bytes=-1001', 0, 999],
      ['bytes=-99999999999999999999999', 0, 999],
      ['BYTES=1-2', 1, 2],
      ['Bytes=1-2', 1, 2],
      ['bytes= 1-2 ', 1, 2],
      ['bytes=,1-2,', 1, 2],
      ['bytes=1-2,5000-', 1, 2],
      ['bytes=00000001-2', 1, 2],
    ];
    for (const [range, start, end] of cases) {
      const { status, headers, body } = await ask(port, '/file', { headers: [`Range: ${range}`] });
      t.is(status, 206, range);
      t.is(headers['content-range'], `bytes ${start}-${end}/1000`, range);
      t.is(headers['content-length'], String(end - start + 1), range);
      t.is(headers['content-type'], 'application/octet-stream');
      t.truthy(headers.etag);
      t.true(body.equals(content.subarray(start, end + 1)), range);
    }
    const { headers, body } = await ask(port, '/big.bin', { headers: ['Range: bytes=100001-250000'] });
    t.is(headers['content-length'], '150000');
    t.true(body.equals(big.subarray(100_001, 250_001)));
  }));

test('what is no range of bytes is ignored', (t) =>
  withFiles(root, {}, async (port) => {
    const ranges = [
      'bytes=5-2',
      'bytes=abc',
      'bytes=',
      'bytes=-',
      'bytes=--1',
      'bytes=1',
      'bytes=1-2-3',
      'bytes=0x1-2',
    ];
    const more = [
      'bytes 1-2',
      'items=0-1',
      'abc',
      '=',
      'bytes=1-2,abc',
      'bytes=1-2,9-5',
      'bytes=1.5-2',
      'bytes=+1-2',
      '0-1',
    ];
    for (const range of [...ranges, ...more, 'bytes=1 -2', 'bytes=1- 2', 'bytes=1x-2', 'bytes=,', 'x-bytes=1-2']) {
      const { status, headers, body } = await ask(port, '/file', { headers: [`Range: ${range}`] });
      t.is(status, 200, range);
      t.is(headers['content-range'], undefined);
      t.true(body.equals(content), range);
    }
    const twice = await ask(port, '/file', { headers: ['Range: bytes=0-1', 'Range: bytes=3-4'] });
    t.is(twice.status, 200, 'two lines');
  }));

test('outside of the file: 416, with its size and nothing of its content', async (t) => {
  const site = tree({ file: content, 'file.gz': 'gz' });
  const options = { cacheControl: 'max-age=60', precompressed: true, headers: { Expires: 'never' } };
  await withFiles(site, options, async (port) => {
    for (const range of [
      'bytes=1000-',
      'bytes=1000-1001',
      'bytes=-0',
      'bytes=5000-,-0',
      'bytes=9999999999999999999-',
    ]) {
      const { status, headers, body } = await ask(port, '/file', {
        headers: [`Range: ${range}`, 'Accept-Encoding: gzip'],
      });
      t.is(status, 416, range);
      t.is(headers['content-range'], 'bytes */1000');
      t.is(headers['content-length'], '0');
      t.is(body.length, 0);
      for (const name of ['content-type', 'content-encoding', 'cache-control', 'expires', 'etag', 'last-modified']) {
        t.is(headers[name], undefined, name);
      }
    }
  });
});

test('an empty file: 416 for a range, 200 without one', (t) =>
  withFiles(root, {}, async (port) => {
    const { status, headers, body } = await ask(port, '/empty');
    t.is(status, 200);
    t.is(headers['content-length'], '0');
    t.is(body.length, 0);
    for (const range of ['bytes=0-', 'bytes=0-0', 'bytes=-1']) {
      const answer = await ask(port, '/empty', { headers: [`Range: ${range}`] });
      t.is(answer.status, 416, range);
      t.is(answer.headers['content-range'], 'bytes */0');
    }
  }));

test('HEAD ignores ranges', (t) =>
  withFiles(root, {}, async (port) => {
    for (const range of ['bytes=0-1', 'bytes=5000-']) {
      const { status, headers } = await ask(port, '/file', { method: 'HEAD', headers: [`Range: ${range}`] });
      t.is(status, 200);
      t.is(headers['content-length'], '1000');
      t.is(headers['accept-ranges'], 'bytes');
    }
  }));

test('If-Range: a strong tag or the exact date, else the whole file', (t) =>
  withFiles(root, {}, async (port) => {
    const { etag = '', 'last-modified': modified = '' } = (await ask(port, '/file')).headers;
    const cases: readonly (readonly [status: number, value: string])[] = [
      [206, etag],
      [206, modified],
      [206, 'Sunday, 09-Sep-01 01:46:40 GMT'],
      [200, `W/${etag}`],
      [200, '"x"'],
      [200, 'Sun, 09 Sep 2001 01:46:41 GMT'],
      [200, 'Sun, 09 Sep 2001 01:46:39 GMT'],
      [200, 'nonsense'],
      [200, `${etag}, ${etag}`],
      [200, '*'],
    ];
    for (const [status, value] of cases) {
      const answer = await ask(port, '/file', { headers: ['Range: bytes=1-2', `If-Range: ${value}`] });
      t.is(answer.status, status, value);
      t.is(answer.body.length, status === 206 ? 2 : 1000);
    }
    const beyond = await ask(port, '/file', { headers: ['Range: bytes=5000-', 'If-Range: "x"'] });
    t.is(beyond.status, 200, 'of another state nothing is unsatisfiable');
  }));

/** The parts of a multipart body: [Content-Range, bytes]. */
function partsOf(type: string, body: Buffer): [string, Buffer][] {
  const boundary = /^multipart\/byteranges; boundary=([\w-]+)$/.exec(type)?.[1] as string;
  const parts: [string, Buffer][] = [];
  let at = body.indexOf(`--${boundary}\r\n`);
  while (at >= 0) {
    const head = body.indexOf('\r\n\r\n', at);
    const range = /Content-Range: (bytes (\d+)-(\d+)\/\d+)/.exec(body.toString('latin1', at, head)) as RegExpExecArray;
    const length = Number(range[3]) - Number(range[2]) + 1;
    parts.push([range[1] as string, body.subarray(head + 4, head + 4 + length)]);
    const next = head + 4 + length;
    if (body.toString('latin1', next).startsWith(`\r\n--${boundary}--\r\n`)) return parts;
    at = body.indexOf(`\r\n--${boundary}\r\n`, next) === next ? next + 2 : -1;
  }
  throw new Error('the body does not end with its boundary');
}

test('several ranges: multipart/byteranges', (t) =>
  withFiles(root, {}, async (port) => {
    const cases: readonly (readonly [range: string, ...parts: (readonly [number, number])[]])[] = [
      ['bytes=0-9,20-29', [0, 9], [20, 29]],
      ['bytes=20-29,0-9', [20, 29], [0, 9]],
      ['bytes=0-0,-1', [0, 0], [999, 999]],
      ['bytes=0-9,5000-,20-29', [0, 9], [20, 29]],
      ['bytes=100-200,150-250,400-500', [100, 250], [400, 500]],
      ['bytes=400-500,100-200,201-250', [400, 500], [100, 250]],
    ];
    for (const [range, ...expected] of cases) {
      const { status, headers, body } = await ask(port, '/file', { headers: [`Range: ${range}`] });
      t.is(status, 206, range);
      t.is(headers['content-length'], String(body.length));
      t.is(headers['content-range'], undefined);
      const parts = partsOf(headers['content-type'] ?? '', body);
      t.deepEqual(
        parts.map(([name]) => name),
        expected.map(([start, end]) => `bytes ${start}-${end}/1000`),
      );
      for (const [at, [start, end]] of expected.entries()) {
        t.true(parts[at]?.[1].equals(content.subarray(start, end + 1)), range);
      }
    }
    const { headers, body } = await ask(port, '/big.bin', { headers: ['Range: bytes=0-99999,150000-299999'] });
    const parts = partsOf(headers['content-type'] ?? '', body);
    t.true(parts[0]?.[1].equals(big.subarray(0, 100_000)));
    t.true(parts[1]?.[1].equals(big.subarray(150_000, 300_000)));
  }));

test('overlapping and adjacent ranges are combined; more than 32 parts are the whole file', (t) =>
  withFiles(root, {}, async (port) => {
    const single = async (range: string): Promise<string | undefined> =>
      (await ask(port, '/file', { headers: [`Range: ${range}`] })).headers['content-range'];
    t.is(await single('bytes=0-10,5-20'), 'bytes 0-20/1000');
    t.is(await single('bytes=0-10,11-20'), 'bytes 0-20/1000');
    t.is(await single('bytes=0-,0-,0-,0-'), 'bytes 0-999/1000');
    t.is(await single(`bytes=${Array.from({ length: 500 }, (_, n) => `${n}-${n + 1}`).join(',')}`), 'bytes 0-500/1000');
    const parts = (count: number): string => Array.from({ length: count }, (_, n) => `${n * 10}-${n * 10}`).join(',');
    const most = await ask(port, '/file', { headers: [`Range: bytes=${parts(32)}`] });
    t.is(most.status, 206);
    t.is(partsOf(most.headers['content-type'] ?? '', most.body).length, 32);
    const tooMany = await ask(port, '/file', { headers: [`Range: bytes=${parts(33)}`] });
    t.is(tooMany.status, 200);
    t.true(tooMany.body.equals(content));
  }));
