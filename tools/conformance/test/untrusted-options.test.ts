/**
 * Options and paths from somebody else: whatever comes, each function says what is wrong, by a code, or does what it
 * was asked; it never hangs, leaves nothing open, and changes no prototype.
 */
import { execFileSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough, type Readable, type Writable } from 'node:stream';
import { inspect } from 'node:util';
import { openDescriptors } from '@zerocopy/conformance/holdings';
import { everything } from '@zerocopy/conformance/security/everything';
import { comesTrue } from '@zerocopy/conformance/security/theft';
import { whyNot } from '@zerocopy/conformance/ways/index';
import { run } from '@zerocopy/conformance/ways/way';
import { constants, feature, formatReport, probe, probePath, syscalls } from '@zerocopy/core-syscalls';
import { copyFile } from '@zerocopy/file-copy';
import { acquireLease, type Lease } from '@zerocopy/lease-guard';
import { createMmapReadStream, mapFile, SharedBufferPool } from '@zerocopy/mmap-buffer';
import { createSendfileStream, sendFile } from '@zerocopy/sendfile-stream';
import { pattern } from '@zerocopy/testing/bytes';
import { makeFile, temporaryDirectory } from '@zerocopy/testing/files';
import test, { type SerialFn, type TestFn } from 'ava';
import fc from 'fast-check';

const directory = temporaryDirectory();
const path = makeFile(directory, 'somebody has written this');
const content = pattern(100_000);
const linux = process.platform === 'linux';
const onLinux = (linux ? test.serial : test.serial.skip) as TestFn;

const numRuns = Number(process.env.ZEROCOPY_FUZZ_RUNS ?? 25);
const given = process.env.ZEROCOPY_FUZZ_SEED;
// In CI the same each time: what decides on a change is that change.
const seed = given !== undefined ? Number(given) : process.env.CI ? 1421328794 : randomInt(2 ** 31);
const PROTOTYPE = Object.getOwnPropertyNames(Object.prototype).join();

/** Thrown by getters: it may come through as it is. */
class Thrown extends Error {
  readonly code = 'THROWN';
}

const names = (...known: string[]): fc.Arbitrary<string> =>
  fc.constantFrom(...known, '__proto__', 'constructor', 'prototype', 'toString', 'signal', 'onProgress', 'fallback');
const values: fc.Arbitrary<unknown> = fc.oneof(
  fc.anything({ withBigInt: true, withDate: true, withNullPrototype: true, withTypedArray: true }),
  fc.constantFrom(-1, 0.5, -0, 2 ** 31, 2 ** 32, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY, 7n, '1', null),
  fc.constantFrom(true, false, 'auto', 'never', 'always', 'read', 'write', 'private', 'trap', 'none', 0, 1, 10),
);

/** A bag with some of the options a function knows: plain, parsed, inherited, or with getters that throw or change. */
function bagOf(...known: string[]): fc.Arbitrary<unknown> {
  const entries = fc.array(fc.tuple(names(...known), values), { maxLength: 4 });
  const plain = entries.map((pairs) => {
    const bag: Record<string, unknown> = {};
    for (const [name, value] of pairs) if (name !== '__proto__') bag[name] = value;
    return bag;
  });
  const parsed = entries.map((pairs) =>
    JSON.parse(`{${pairs.map(([name]) => `${JSON.stringify(name)}:{"polluted":true}`).join()}}`),
  );
  const throwing = names(...known).map((name) =>
    Object.defineProperty({}, name, {
      enumerable: true,
      get() {
        throw new Thrown(name);
      },
    }),
  );
  const changing = fc.tuple(names(...known), values, values).map(([name, first, then]) => {
    let reads = 0;
    return Object.defineProperty({}, name, { enumerable: true, get: () => (reads++ === 0 ? first : then) });
  });
  return fc.oneof(
    plain,
    plain,
    parsed,
    throwing,
    changing,
    plain.map((bag) => Object.create(bag as object)),
    values,
  );
}

const code = (error: unknown): unknown => (error as { code?: unknown } | null)?.code;

/** Runs a call with what has been made up; any outcome is fine but silence, a leak, or an error without a code. */
async function harmless(call: () => unknown): Promise<void> {
  const before = openDescriptors();
  let outcome: { readonly error?: unknown } | undefined;
  Promise.resolve()
    .then(call)
    .then(
      () => {
        outcome = {};
      },
      (error: unknown) => {
        outcome = { error };
      },
    );
  if (!(await comesTrue(() => outcome !== undefined))) throw new Error('it does not end');
  const error = outcome?.error;
  if (error !== undefined && typeof code(error) !== 'string') throw new Error(`no code: ${error}`, { cause: error });
  if (!linux) return;
  if (!(await comesTrue(() => openDescriptors() <= before)))
    throw new Error(`${openDescriptors() - before} descriptors are open`);
  if (Object.getOwnPropertyNames(Object.prototype).join() !== PROTOTYPE) throw new Error('the prototype has changed');
  if (({} as { polluted?: unknown }).polluted !== undefined) throw new Error('the prototype is polluted');
}

/** What was made up, with what it inherits, and with getters as such: they are not called. */
const shown = (made: unknown): string =>
  [made, Object.getPrototypeOf(Object(made))]
    .filter((part) => part !== Object.prototype)
    .map((part) => inspect(part, { showHidden: true, breakLength: Number.POSITIVE_INFINITY }))
    .join(' inherits ');

async function check(bag: fc.Arbitrary<unknown>, call: (options: never) => unknown, runs = numRuns): Promise<void> {
  const property = fc.asyncProperty(bag, async (options) => {
    const from = shown(options); // before a getter that changes has been read
    try {
      await harmless(() => call(options as never));
    } catch (error) {
      throw new Error(`${(error as Error).message}, of ${from}`, { cause: error });
    }
  });
  const { failed, errorInstance } = await fc.check(property, { seed, numRuns: runs, interruptAfterTimeLimit: 30_000 });
  if (failed)
    throw new Error(`${(errorInstance as Error).message} (ZEROCOPY_FUZZ_SEED=${seed})`, { cause: errorInstance });
}

/** Without the flags or mode -0, of which Node's own fs.open ends the process by an assertion (Node 20). */
const calm = (options: unknown): boolean => {
  const made = Object(options) as object;
  return !['flags', 'mode'].some((name) => {
    const value =
      Object.getOwnPropertyDescriptor(made, name) ??
      Object.getOwnPropertyDescriptor(Object.getPrototypeOf(made) ?? {}, name);
    return value !== undefined && (value.get !== undefined || Object.is(value.value, -0));
  });
};

const closed = (stream: Readable | Writable): Promise<void> =>
  new Promise((resolve, reject) => {
    let failure: Error | undefined;
    stream.once('error', (error) => {
      failure = error;
    });
    stream.once('close', () => (failure === undefined ? resolve() : reject(failure)));
    setImmediate(() => stream.destroy());
    // Streams that emit no 'close', as they were told.
    setTimeout(() => resolve(), 200).unref();
  });

/** Of all packages together: what one does not know is for it to ignore. */
const OPTIONS = bagOf(
  ...'start end lease leaseBreak endMessage smallFileSize highWaterMark encoding flags mode flush'.split(' '),
  ...'length dropAfter idleTimeout halfCloseTimeout head proxyProtocol reflink exclusive'.split(' '),
  ...'access offset populate hugePages guard autoClose emitClose'.split(' '),
);

// The thread that serves leases stays for as long as there is one: its start is no leak.
let held: Lease | undefined;
test.before(async () => {
  if (feature('lease').available) held = await acquireLease(makeFile(directory), 'read');
});
test.after.always(() => held?.release());

for (const way of everything) {
  const missing = whyNot(way);
  const wayTest = (missing === undefined ? test.serial : test.serial.skip) as SerialFn;
  const why = missing === undefined ? '' : ` (${missing})`;
  wayTest(`${way.name}: whatever its options are, it does it, or says what is wrong${why}`, async (t) => {
    const once = (options: unknown): Promise<unknown> => {
      const setting = { directory: mkdtempSync(join(directory, 'way-')), content };
      return run(way, { ...setting, bag: { options } }).then((deliveries) => {
        for (const { error } of deliveries) if (error !== undefined) throw error;
      });
    };
    await once({}).catch(() => {}); // what stays is started
    await t.notThrowsAsync(check(OPTIONS.filter(calm), once, Math.ceil(numRuns / 6)));
  });
}

test.serial('acquireLease and SharedBufferPool', async (t) => {
  await t.notThrowsAsync(
    check(bagOf('autoRelease', 'releaseBeforeMs'), async (options) => {
      const lease = await acquireLease(path, 'read', options);
      await lease.release();
    }),
  );
  await t.notThrowsAsync(check(bagOf('bufferSize', 'count'), (options) => new SharedBufferPool(options).close()));
});

test.serial('paths that are none', async (t) => {
  const paths = fc.oneof(values, fc.string(), fc.constantFrom('', '\0', `${path}\0`, directory, join(directory, 'no')));
  await t.notThrowsAsync(
    check(
      paths.filter((value) => typeof value !== 'number'),
      async (made) => {
        const outcomes = await Promise.allSettled([
          sendFile(new PassThrough().resume(), made),
          copyFile(made, join(directory, 'copy of none')),
          mapFile(made).then((mapped) => mapped.close()),
          Promise.resolve().then(() => closed(createSendfileStream(made).resume())),
          Promise.resolve().then(() => closed(createMmapReadStream(made).resume())),
        ]);
        for (const outcome of outcomes)
          if (outcome.status === 'rejected') await harmless(() => Promise.reject(outcome.reason));
      },
    ),
  );
});

onLinux(
  'directories, devices, sockets, loops of links: an error, or their bytes; and a FIFO without a writer',
  async (t) => {
    const loop = join(directory, 'loop');
    symlinkSync(loop, loop);
    mkdirSync(join(directory, 'sub'));
    const places = ['/dev/null', '/proc/self/mem', '/proc/self/status', '/sys/kernel', loop, join(directory, 'sub')];
    for (const place of places) {
      for (const call of [
        () => sendFile(new PassThrough().resume(), place),
        () => copyFile(place, join(directory, 'copy of it')),
        () => mapFile(place).then((mapped) => mapped.close()),
        () => closed(createMmapReadStream(place).resume()),
        () => closed(createSendfileStream(place).resume()),
      ]) {
        await t.notThrowsAsync(harmless(call), place);
      }
    }
    // Opening it holds up one thread of the pool, as with Node's own streams, and never the event loop.
    const fifo = join(directory, 'fifo');
    execFileSync('mkfifo', [fifo]);
    const opening = sendFile(new PassThrough().resume(), fifo);
    let turns = 0;
    while (turns < 10) {
      await new Promise((resolve) => setImmediate(resolve));
      turns++;
    }
    writeFileSync(fifo, 'from a FIFO');
    t.is((await opening).bytes, 11);
    t.is(probePath(fifo).sendfileSource.available, false);
  },
);

const pools = linux && feature('mmap').available && feature('memfdSeals').available;
const poolTest = (pools ? test.serial : test.serial.skip) as TestFn;

poolTest(`a hostile neighbour in a shared pool${pools ? '' : ' (needs mmap and memfd seals)'}`, async (t) => {
  // What is no pool is refused: not sealed, of another size, with another header.
  const { F_ADD_SEALS, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, MFD_ALLOW_SEALING, MFD_CLOEXEC } = constants;
  for (const [size, sealed, header] of [
    [0, true, undefined],
    [4096, false, undefined],
    [4096, true, undefined],
    [65_536, true, [0x7063627a, 1, syscalls.getpagesize(), 0x7fffffff, -1, -1]],
    [65_536, true, [0x7063627a, 1, syscalls.getpagesize(), -1, 1, 0]],
    [65_536, true, [0x7063627a, 1, syscalls.getpagesize(), 1, 0, 0x100000]],
  ] as const) {
    const fd = syscalls.memfdCreate('hostile', MFD_CLOEXEC | MFD_ALLOW_SEALING);
    syscalls.ftruncate(fd, size);
    if (header !== undefined) syscalls.pwrite(fd, Int32Array.from(header), 4 * header.length, 0);
    if (sealed) syscalls.fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SEAL | F_SEAL_SHRINK);
    t.throws(() => SharedBufferPool.open(fd), { code: 'ERR_INVALID_POOL' });
    syscalls.close(fd);
  }
  t.throws(() => SharedBufferPool.open(2 ** 30), { code: 'ERR_INVALID_POOL' });

  // Whoever has it open may write what they like into its books; whatever it is, calls return, or say what is wrong.
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer(), { minLength: 1, maxLength: 64 }), fc.nat(400), async (words, at) => {
      using pool = new SharedBufferPool({ bufferSize: 100, count: 3 });
      using other = SharedBufferPool.open(pool.fd);
      const buffer = pool.acquire();
      const handle = buffer?.share();
      syscalls.pwrite(pool.fd, Int32Array.from(words), 4 * words.length, 4 * at);
      await harmless(() => other.acquire()?.release());
      await harmless(() => other.open(handle as never).buffer.fill(1));
      await harmless(() => other.acquire()?.share());
      await harmless(() => pool.reclaim());
      await harmless(() => pool.available);
      buffer?.release();
    }),
    { seed, numRuns },
  );
  using pool = new SharedBufferPool({ bufferSize: 100, count: 3 });
  await fc.assert(
    fc.asyncProperty(fc.oneof(values, fc.record({ pool: values, ticket: values, nonce: values })), (handle) =>
      harmless(() => pool.open(handle as never)),
    ),
    { seed, numRuns },
  );
});

test.serial('ZEROCOPY_DISABLE with anything in it: the probe says so, and does not throw', (t) => {
  for (const value of ['garbage', 'all,', '__proto__', 'sendfile;splice'.repeat(1000)]) {
    const script =
      "import('@zerocopy/core-syscalls').then(({ probe }) => console.log(JSON.stringify(probe().configurationError ?? null)))";
    const output = execFileSync(process.execPath, ['--no-warnings', '-e', script], {
      env: { ...process.env, ZEROCOPY_DISABLE: value },
      encoding: 'utf8',
    });
    const told: unknown = JSON.parse(output);
    if (value === 'all,') t.is(told, null);
    else t.regex(String(told), /ZEROCOPY_DISABLE/);
  }
  t.true(formatReport(probe()).length > 0);
});
