/** A file as a Buffer: what is seen, stored, advised, resized and closed. */
import { constants as limits } from 'node:buffer';
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { syscalls } from '@zerocopy/core-syscalls';
import { type MapOptions, mapFile, mapFileSync } from '@zerocopy/mmap-buffer';
import test from 'ava';
import { collectGarbage, KiB, MiB, makeFile, mapTest, pattern, temporaryDirectory } from './harness.js';

const directory = temporaryDirectory();
const page = syscalls.getpagesize();

mapTest('any offset and length, within what the file holds (kernel-rules: page-alignment)', async (t) => {
  const content = pattern(3 * page + 100);
  const path = makeFile(directory, content);
  for (const offset of [0, 1, page - 1, page, page + 1, 3 * page + 99, content.length]) {
    for (const length of [undefined, 0, 1, page, content.length - offset]) {
      if (length !== undefined && offset + length > content.length) continue;
      const end = length === undefined ? content.length : offset + length;
      for (const map of [mapFile, mapFileSync]) {
        const options: MapOptions = length === undefined ? { offset } : { offset, length };
        const mapped = await map(path, options);
        t.true(mapped.buffer.equals(content.subarray(offset, end)), `${offset}, ${length}`);
        t.is(mapped.length, end - offset);
        await mapped.close();
      }
    }
  }
  for (const options of [
    { offset: content.length + 1 },
    { length: content.length + 1 },
    { offset: page, length: 3 * page },
  ]) {
    await t.throwsAsync(mapFile(path, options), { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' });
    t.throws(() => mapFileSync(path, options), { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' });
  }
});

test('a path as a string, a Buffer or a URL; an empty file; what cannot be mapped', async (t) => {
  const path = makeFile(directory, 'text');
  for (const name of [path, Buffer.from(path), pathToFileURL(path)]) {
    const mapped = await mapFile(name);
    t.is(mapped.buffer.toString(), 'text');
    await mapped.close();
  }
  const empty = await mapFile(makeFile(directory, ''));
  t.is(empty.length, 0);
  t.is(empty.buffer.length, 0);
  t.deepEqual([...empty.windows()], []);
  await empty.close();
  await t.throwsAsync(mapFile(join(directory, 'missing')), { code: 'ENOENT' });
  await t.throwsAsync(mapFile(directory), { code: 'EISDIR' });
  await t.throwsAsync(mapFile('/dev/null'), { code: 'ENODEV' });
});

test('options that make no sense: what was expected, and what came', async (t) => {
  const path = makeFile(directory);
  const cases: [unknown, unknown, string][] = [
    [42, {}, 'ERR_INVALID_ARG_TYPE'],
    [path, null, 'ERR_INVALID_ARG_TYPE'],
    [path, { access: 'rw' }, 'ERR_INVALID_ARG_VALUE'],
    [path, { guard: true }, 'ERR_INVALID_ARG_VALUE'],
    [path, { offset: -1 }, 'ERR_OUT_OF_RANGE'],
    [path, { offset: 0.5 }, 'ERR_OUT_OF_RANGE'],
    [path, { offset: '1' }, 'ERR_INVALID_ARG_TYPE'],
    [path, { length: Number.NaN }, 'ERR_OUT_OF_RANGE'],
    [path, { populate: 1 }, 'ERR_INVALID_ARG_TYPE'],
    [path, { hugePages: 'yes' }, 'ERR_INVALID_ARG_TYPE'],
    [path, { access: 'write', guard: 'lease' }, 'ERR_INVALID_ARG_VALUE'],
    [path, { access: 'private', guard: 'lease' }, 'ERR_INVALID_ARG_VALUE'],
  ];
  for (const [name, options, code] of cases) {
    await t.throwsAsync(mapFile(name as string, options as MapOptions), { code }, JSON.stringify(options));
    t.throws(() => mapFileSync(name as string, options as MapOptions), { code }, JSON.stringify(options));
  }
  t.throws(() => mapFileSync(path, { guard: 'lease' }), { code: 'ERR_INVALID_ARG_VALUE', message: /use mapFile/ });
});

mapTest('stores: shared ones are seen by all, private ones and those into a read mapping by nobody else', async (t) => {
  const path = makeFile(directory, Buffer.alloc(3 * page, 'a'));
  const [one, two] = [await mapFile(path, { access: 'write' }), await mapFile(path, { access: 'write', offset: page })];
  const [mine, reader] = [await mapFile(path, { access: 'private' }), await mapFile(path)];
  one.buffer[page] = 1;
  two.buffer[1] = 2;
  t.deepEqual([two.buffer[0], one.buffer[page + 1]], [1, 2]);
  t.deepEqual([...reader.buffer.subarray(page, page + 2)], [1, 2]);
  t.deepEqual([...readFileSync(path).subarray(page, page + 2)], [1, 2]);
  mine.buffer[0] = 3;
  reader.buffer[2 * page] = 4;
  t.deepEqual([mine.buffer[0], reader.buffer[2 * page]], [3, 4]);
  t.deepEqual([one.buffer[0], one.buffer[2 * page]], [0x61, 0x61]);
  t.true(
    readFileSync(path)
      .subarray(2 * page)
      .equals(Buffer.alloc(page, 'a')),
  );
  for (const mapped of [one, two, mine, reader]) await mapped.close();
  t.is(readFileSync(path)[page], 1, 'what was stored is in the file');
});

mapTest('a mapping that was there first goes on following the file when somebody writes to it', async (t) => {
  const path = makeFile(directory, 'before');
  const reader = await mapFile(path);
  const writer = await mapFile(path, { access: 'write' });
  writer.buffer.write('after!');
  t.is(reader.buffer.toString(), 'after!');
  const file = await open(path, 'r+');
  await file.write('fs too');
  await file.close();
  t.is(reader.buffer.toString(), 'fs too');
  await reader.close();
  await writer.close();
});

mapTest('beyond 4 GiB: views and windows at any place; one Buffer only where Node can', async (t) => {
  const path = makeFile(directory, '');
  const size = 5 * 1024 * MiB;
  truncateSync(path, size);
  const writer = await mapFile(path, { access: 'write' });
  t.is(writer.length, size);
  const marks = [0, 2 ** 31 - 1, 2 ** 32 - 1, 2 ** 32, size - 5];
  for (const at of marks) writer.view(at, 5).write('mark!');
  const file = await open(path);
  for (const at of marks) t.is((await file.read(Buffer.alloc(1), 0, 1, at)).buffer.toString(), 'm', `${at}`);
  await file.close();
  const mapped = await mapFile(path);
  if (limits.MAX_LENGTH < size) {
    const error = t.throws(() => mapped.buffer, { name: 'RangeError', code: 'ERR_BUFFER_TOO_LARGE' });
    t.regex(error.message, /view\(offset, length\) or windows\(\)/);
    t.throws(() => mapped.view(0), { code: 'ERR_BUFFER_TOO_LARGE' });
    t.throws(() => [...mapped.windows(limits.MAX_LENGTH + 1)], { code: 'ERR_OUT_OF_RANGE' });
  } else t.is(mapped.buffer.subarray(size - 5).toString(), 'mark!');
  const largest = Math.min(limits.MAX_LENGTH, size - 1);
  t.is(mapped.view(1, largest).length, largest);
  let at = 0;
  for (const window of mapped.windows(1024 * MiB)) {
    for (const mark of marks)
      if (mark >= at && mark < at + window.length) t.is(window[mark - at], 'm'.charCodeAt(0), `${mark}`);
    at += window.length;
  }
  t.is(at, size);
  await mapped.close();
  await writer.close();
  await collectGarbage();
});

mapTest('view and windows: what they take, and that they do not copy', async (t) => {
  const content = pattern(10_000);
  const path = makeFile(directory, content);
  const mapped = await mapFile(path, { access: 'write', offset: 100, length: 9000 });
  for (const whole of [false, true]) {
    if (whole) void mapped.buffer; // the views are parts of it from then on
    t.true(mapped.view(10, 20).equals(content.subarray(110, 130)));
    t.true(mapped.view(8990).equals(content.subarray(9090, 9100)));
    t.is(mapped.view(9000).length, 0);
    mapped.view(0, 1)[0] = 0xee;
    t.is(mapped.view(0, 2)[0], 0xee);
    t.true(Buffer.concat([...mapped.windows(999)]).equals(mapped.buffer));
  }
  t.is(mapped.buffer, mapped.buffer, 'the same one each time');
  t.is(mapped.buffer.byteOffset % 8, 100 % 8, 'its ArrayBuffer starts with a page');
  for (const [offset, length] of [[-1], [9001], [0, 9001], [8999, 2], [0.5], [0, Number.NaN]] as [number, number?][]) {
    t.throws(() => mapped.view(offset, length), { code: 'ERR_OUT_OF_RANGE' }, `${offset}, ${length}`);
  }
  t.throws(() => mapped.view('1' as unknown as number), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(() => [...mapped.windows(0)], { code: 'ERR_OUT_OF_RANGE' });
  await mapped.close();
});

mapTest('advise, populate, residency, lock: each is asked of the kernel', async (t) => {
  const path = makeFile(directory, pattern(64 * page));
  const mapped = await mapFile(path, { populate: true });
  t.deepEqual(mapped.residency(), { pages: 64, residentPages: 64, pageSize: page });
  t.deepEqual(mapped.residency({ offset: page - 1, length: 2 }), { pages: 2, residentPages: 2, pageSize: page });
  for (const advice of ['normal', 'random', 'sequential', 'willneed', 'cold', 'dontneed'] as const) {
    t.notThrows(() => mapped.advise(advice), advice);
    t.notThrows(() => mapped.advise(advice, { offset: 5, length: 10 }), advice);
  }
  t.throws(() => mapped.advise('always' as 'normal'), { code: 'ERR_INVALID_ARG_VALUE' });
  t.throws(() => mapped.advise('normal', { offset: 64 * page + 1 }), { code: 'ERR_OUT_OF_RANGE' });
  t.true(mapped.buffer.equals(readFileSync(path)), 'no advice changes what is seen');

  const locked = (): number => Number(/VmLck:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * KiB;
  const before = locked();
  await mapped.lock({ offset: 1, length: page });
  t.is(locked() - before, 2 * page, 'whole pages');
  mapped.unlock();
  t.is(locked(), before);
  await mapped.close();
  for (const access of ['read', 'write', 'private'] as const) {
    for (const populate of [true, false]) {
      const again = mapFileSync(path, { populate, access, hugePages: true });
      t.is(again.buffer[1], 31);
      await again.close();
    }
  }
});

mapTest('flush is for stores that go to the file', async (t) => {
  const path = makeFile(directory, Buffer.alloc(3 * page));
  const mapped = await mapFile(path, { access: 'write' });
  mapped.buffer.write('stored', page);
  mapped.flush();
  mapped.flush({ offset: page, length: 6 });
  await mapped.flushAsync();
  await mapped.flushAsync({ offset: page + 1 });
  t.is(readFileSync(path).toString('latin1', page, page + 6), 'stored');
  t.throws(() => mapped.flush({ offset: 3 * page + 1 }), { code: 'ERR_OUT_OF_RANGE' });
  await mapped.close();
  for (const access of ['read', 'private'] as const) {
    const other = await mapFile(path, { access });
    t.throws(() => other.flush(), { code: 'ERR_INVALID_STATE', message: /access 'write'/ });
    await t.throwsAsync(other.flushAsync(), { code: 'ERR_INVALID_STATE' });
    await t.throwsAsync(other.resize(1), { code: 'ERR_INVALID_STATE' });
    await other.close();
  }
});

mapTest('resize: grown in place and elsewhere, views follow; cut off, they read zeros', async (t) => {
  const path = makeFile(directory, Buffer.alloc(page + 10, 'x'));
  const mapped = await mapFile(path, { access: 'write', offset: 10 });
  const first = mapped.buffer;
  for (const length of [page + 1, 3 * page, 40 * MiB, 200 * MiB]) {
    await mapped.resize(length);
    t.is(mapped.length, length);
    t.is(mapped.buffer.length, length);
    t.is(statSync(path).size, length + 10);
    t.true(statSync(path).blocks * 512 >= length + 10, 'the blocks are there');
    mapped.buffer[length - 1] = 7;
    first[5] = length & 0xff;
    t.is(mapped.buffer[5], length & 0xff, 'a view from before is one of the same bytes');
  }
  const large = mapped.buffer;
  await mapped.resize(100);
  t.is(statSync(path).size, 110);
  t.is(mapped.buffer.length, 100);
  t.deepEqual([large[page - 11], large[page], large[200 * MiB - 1]], [0, 0, 0], 'readable, and gone');
  t.deepEqual([large[5], first[99], first[page - 1]], [first[5], 0x78, 0]);
  await mapped.resize(2 * page);
  mapped.buffer[2 * page - 1] = 9;
  t.deepEqual([mapped.buffer[100], readFileSync(path)[2 * page + 9]], [0, 9], 'what grows back is the file');
  await mapped.resize(0);
  t.is(mapped.buffer.length, 0);
  await mapped.resize(3);
  mapped.buffer.write('end');
  t.is(readFileSync(path).toString('latin1', 10), 'end');
  t.is(large[0], 'e'.charCodeAt(0));
  await mapped.close();
  t.deepEqual([large[0], first[0]], [0, 0]);
});

mapTest('resize: asked for at once, in order; refused where it would cut off what is not mapped', async (t) => {
  const path = makeFile(directory, '');
  const mapped = await mapFile(path, { access: 'write' });
  await Promise.all([mapped.resize(10), mapped.resize(page * 3), mapped.resize(5)]);
  t.is(statSync(path).size, 5);
  await t.throwsAsync(mapped.resize(-1), { code: 'ERR_OUT_OF_RANGE' });
  await mapped.resize(6);
  await mapped.resize(6);
  t.is(mapped.length, 6);
  const cut = mapped.resize(2);
  await new Promise((resolve) => process.nextTick(resolve)); // under way, and not answered before the loop turns
  await mapped.close();
  await t.throwsAsync(cut, { code: 'ERR_MAPPING_CLOSED' });
  writeFileSync(path, Buffer.alloc(100, 'y'));
  const part = await mapFile(path, { access: 'write', length: 50 });
  await t.throwsAsync(part.resize(10), { code: 'ERR_INVALID_STATE', message: /goes on after/ });
  await t.throwsAsync(part.resize(60), { code: 'ERR_INVALID_STATE' });
  t.true(readFileSync(path).equals(Buffer.alloc(100, 'y')));
  const resizing = part.resize(50);
  await part.close();
  await t.throwsAsync(resizing, { code: 'ERR_MAPPING_CLOSED' });
});

mapTest('closed: views are zeros, methods say so, any number of times, by `using` too', async (t) => {
  const path = makeFile(directory, pattern(2 * page));
  const mapped = await mapFile(path);
  const [view, part] = [mapped.buffer, mapped.view(page + 1, 10)];
  t.false(mapped.closed);
  await mapped.close();
  await mapped.close();
  t.true(mapped.closed);
  t.is(mapped.length, 0);
  t.is(mapped.buffer.length, 0);
  t.true(view.equals(Buffer.alloc(2 * page)));
  t.true(part.equals(Buffer.alloc(10)));
  view.fill(1); // goes nowhere
  t.true(readFileSync(path).equals(pattern(2 * page)));
  for (const use of [
    () => mapped.view(0),
    () => mapped.advise('normal'),
    () => mapped.residency(),
    () => mapped.unlock(),
    () => mapped.flush(),
  ]) {
    t.throws(use, { code: 'ERR_MAPPING_CLOSED' });
  }
  for (const use of [mapped.populate(), mapped.lock(), mapped.flushAsync(), mapped.resize(1)]) {
    await t.throwsAsync(use, { code: 'ERR_MAPPING_CLOSED' });
  }
  let inside: Buffer;
  {
    using scoped = mapFileSync(path);
    inside = scoped.buffer;
    t.is(inside[1], 31);
  }
  t.is(inside[1], 0);
  {
    await using scoped = await mapFile(path);
    inside = scoped.buffer;
  }
  t.is(inside[1], 0);
});

test('files that have no size until they are read are read', async (t) => {
  for (const map of [mapFile, mapFileSync]) {
    const version = await map('/proc/version');
    t.is(version.method, 'copy');
    t.is(version.buffer.toString(), readFileSync('/proc/version', 'utf8'));
    t.regex(version.fallbackReason ?? '', /empty|mmap|disabled|^koffi cannot be loaded/);
    t.is(version.view(0, 5).toString(), 'Linux');
    t.is(version.residency().residentPages, 1);
    await version.populate();
    await version.lock();
    version.unlock();
    version.advise('random');
    const view = version.buffer;
    await version.close();
    t.is(view[0], 0);
    t.throws(() => version.view(0), { code: 'ERR_MAPPING_CLOSED' });
  }
});
