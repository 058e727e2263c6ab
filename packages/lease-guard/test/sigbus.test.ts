/** Safety from SIGBUS. Each case in a child process, so that dying is visible. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { guardMapping, installSigbusTrap, readChecked } from '@zerocopy/lease-guard';
import test from 'ava';
import {
  type Ended,
  fixture,
  leaseAndTrapTest,
  leaseTest,
  runProgram,
  temporaryDirectory,
  trapSerial,
  trapTest,
} from './harness.js';

const directory = temporaryDirectory();
let files = 0;

const mapped = (how: string, ...more: string[]): Promise<Ended> =>
  runProgram(process.execPath, [fixture('mapped'), how, join(directory, `mapped-${files++}`), ...more]);

function answer({ status, signal, stdout, stderr }: Ended): Record<string, unknown> {
  if (status !== 0) throw new Error(`ended with ${status ?? signal}: ${stderr}`);
  return JSON.parse(stdout.split('\n')[0] as string) as Record<string, unknown>;
}

const M = 'm'.charCodeAt(0);

trapTest('truncated under the trap: zeros, counted, and a check that fails', async (t) => {
  const ended = await mapped('trap');
  const told = answer(ended);
  t.deepEqual(told.seen, [M, M, 0, 0, 0]);
  t.true(told.truncated);
  t.is(told.checked, 'ERR_FILE_TRUNCATED');
  t.is(told.traps, 1, 'from the first missing page to the end at once');
  t.is((JSON.parse(ended.stdout.split('\n')[1] as string) as { after: number }).after, 1, 'also after the release');
});

for (const [how, title, given] of [
  ['lease', 'truncated under a lease: the bytes stay as they were', leaseTest],
  ['both', 'truncated under both: the bytes stay as they were', leaseAndTrapTest],
] as const) {
  given(title, async (t) => {
    const told = answer(await mapped(how));
    t.deepEqual(told.seen, [M, M, M, M, M]);
    t.like(told, { traps: 0, truncated: false, detached: true, checked: 'fine' });
  });
}

leaseAndTrapTest('too large for a copy: the lease is given up, and the trap takes over', async (t) => {
  t.like(answer(await mapped('large')), { detached: false, truncated: true, checked: 'ERR_FILE_TRUNCATED' });
});

trapTest('unguarded, the same program dies of SIGBUS', async (t) => {
  t.like(await mapped('none'), { status: null, signal: 'SIGBUS', stdout: '' });
});

trapTest("somebody else's fault still kills, and so does a SIGBUS that is sent", async (t) => {
  t.like(await mapped('foreign-fault'), { signal: 'SIGBUS', stdout: '' });
  t.like(await mapped('foreign-sent'), { signal: 'SIGBUS', stdout: '' });
});

trapTest('a listener for SIGBUS, from before or after, hears what is sent; faults are still answered', async (t) => {
  for (const how of ['listener-before', 'listener-after']) {
    t.deepEqual(answer(await mapped(how)), { first: 0, traps: 1, heard: 1 }, how);
  }
});

trapTest(
  'a listener for SIGBUS that comes, or comes and goes, after the guard: faults are answered all the same',
  async (t) => {
    t.deepEqual(answer(await mapped('listener-later')), { first: 0, traps: 1, heard: 1 });
    t.deepEqual(answer(await mapped('listener-gone')), { first: 0, traps: 1, heard: 0 });
    t.deepEqual(answer(await mapped('listener-all-gone')), { first: 0, traps: 1, heard: 0 });
  },
);

trapTest('a page within the file that there is none of: what read(2) says of it, and no truncation', async (t) => {
  const O = 'o'.charCodeAt(0);
  t.deepEqual(answer(await mapped('other-file')), {
    seen: [M, O, O, O],
    truncated: false,
    copiedPages: 2,
    unreadablePages: 0,
    trapCount: 2,
    checked: 'fine',
  });
  t.deepEqual(answer(await mapped('other-file', 'unreadable')), {
    seen: [M, 0, 0, 0],
    truncated: false,
    copiedPages: 2,
    unreadablePages: 2,
    trapCount: 2,
    checked: 'EIO',
  });
});

trapTest('two copies of the package share one trap', async (t) => {
  t.deepEqual(answer(await mapped('copies')), {
    different: true,
    bytes: [0, 0],
    traps: [1, 1],
    mappings: 1,
    caught: true,
  });
});

trapTest('ten thousand guards leave no mapping; the table has an end, and says so', async (t) => {
  t.deepEqual(answer(await mapped('many')), { grown: false, full: 'ERR_ZEROCOPY_TOO_MANY_GUARDS' });
});

trapTest('the guards of terminated threads make room when the table is full', async (t) => {
  const code = `import(${JSON.stringify(import.meta.resolve('@zerocopy/lease-guard'))}).then(({ guardMapping }) => {
    // Address space that nobody touches: the rows are what counts.
    for (let page = 0; page < 4000; page++) guardMapping(2 ** 46 + page * 4096, 4096);
    require('node:worker_threads').parentPort.postMessage('guarded');
    setInterval(() => {}, 1000);
  });`;
  const program = `
    const { Worker } = require('node:worker_threads');
    const { once } = require('node:events');
    import(${JSON.stringify(import.meta.resolve('@zerocopy/lease-guard'))}).then(async ({ guardMapping }) => {
      const mine = guardMapping(2 ** 45, 4096);
      const fill = () => { for (let page = 1; page <= 200; page++) guardMapping(2 ** 45 + page * 4096, 4096); };
      const worker = new Worker(${JSON.stringify(code)}, { eval: true });
      await once(worker, 'message');
      let full = '';
      try { fill(); } catch (error) { full = error.code; }
      await worker.terminate();
      fill();
      console.log(JSON.stringify({ full, mine: mine.trapCount }));
    });`;
  t.deepEqual(answer(await runProgram(process.execPath, ['-e', program])), {
    full: 'ERR_ZEROCOPY_TOO_MANY_GUARDS',
    mine: 0,
  });
});

const seconds = process.env.ZEROCOPY_LONG === '1' ? 10 : 2;
trapTest(`truncated over and over for ${seconds} seconds, while four workers read`, async (t) => {
  t.deepEqual(answer(await mapped('workers', String(seconds * 1000))), { cuts: true, readers: 4, reads: true });
});

trapTest('under --jitless: nothing of this is just-in-time', async (t) => {
  const path = join(directory, 'jitless');
  const ended = await runProgram(process.execPath, ['--jitless', fixture('mapped'), 'trap', path]);
  t.true(answer(ended).truncated);
});

trapTest('readChecked: bytes or EFAULT, without a handler', async (t) => {
  t.deepEqual(answer(await mapped('checked')), { whole: true, codes: [10, 'EFAULT', 'EFAULT'] });
});

function mountTmpfs(): string | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const target = mkdtempSync(join(tmpdir(), 'zerocopy-tmpfs-'));
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', target]).status === 0) return target;
  rmSync(target, { recursive: true });
  return undefined;
}

const full = mountTmpfs();
test.after.always(() => {
  if (full === undefined) return;
  spawnSync('umount', [full]);
  rmSync(full, { recursive: true, force: true });
});
(full === undefined ? test.skip : trapSerial)(
  'a full tmpfs: a store that finds no page (needs to mount one)',
  async (t) => {
    const ended = await runProgram(process.execPath, [fixture('mapped'), 'full', join(full as string, 'file')]);
    rmSync(join(full as string, 'file'));
    t.deepEqual(answer(ended), { trapped: true, last: 'x'.charCodeAt(0) });
  },
);

for (const [how, checked, copiedPages] of [
  ['read', 'fine', 2],
  ['store', 'ERR_STORE_LOST', 3],
] as const) {
  (full === undefined ? test.skip : trapSerial)(
    `a hole of a file on a full tmpfs, ${how}: the hole is zeros, the rest is itself (needs to mount one)`,
    async (t) => {
      const file = join(full as string, `hole-${how}`);
      const told = answer(await runProgram(process.execPath, [fixture('mapped'), 'full-hole', file, how]));
      for (const name of [file, `${file}-filler`]) rmSync(name);
      const seen = ['a'.charCodeAt(0), 0, 0, 'z'.charCodeAt(0)];
      t.deepEqual(told, { seen, truncated: false, copiedPages, unreadablePages: 0, checked, after: [0, true] });
    },
  );
}

const hugePages = Number(/HugePages_Free:\s*(\d+)/.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? 0);
(hugePages >= 2 ? trapTest : test.skip)(
  `huge pages, whole ones${hugePages >= 2 ? '' : ' (needs two free ones: vm.nr_hugepages)'}`,
  async (t) => {
    t.deepEqual(answer(await mapped('huge')), { seen: ['h'.charCodeAt(0), 0, 0], traps: 1 });
  },
);

test('hostile arguments', (t) => {
  t.throws(() => guardMapping(0, 4096), { code: 'ERR_OUT_OF_RANGE' });
  t.throws(() => guardMapping(4096.5, 4096), { code: 'ERR_OUT_OF_RANGE' });
  t.throws(() => guardMapping(4097, 4096), { code: 'ERR_OUT_OF_RANGE', message: /multiple of the page size/ });
  t.throws(() => guardMapping(4096, '1' as never), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(() => guardMapping(65_536, 4096, { trap: 1 as never }), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(() => guardMapping(65_536, 4096, { lease: {} as never }), { code: 'ERR_INVALID_ARG_TYPE' });
  for (const [options, code] of [
    [{ pageSize: 'x' }, 'ERR_OUT_OF_RANGE'],
    [{ pageSize: 0 }, 'ERR_OUT_OF_RANGE'],
    [{ pageSize: 1.5 }, 'ERR_OUT_OF_RANGE'],
    [{ snapshotLimit: -1 }, 'ERR_OUT_OF_RANGE'],
    [{ snapshotLimit: '1' }, 'ERR_OUT_OF_RANGE'],
    [{ writable: 'yes' }, 'ERR_INVALID_ARG_TYPE'],
  ] as const) {
    t.throws(() => guardMapping(65_536, 4096, options as never), { code }, JSON.stringify(options));
  }
  t.is(readChecked(4096, 0, 0).length, 0);
  t.throws(() => readChecked(4096, -1, 1), { code: 'ERR_OUT_OF_RANGE' });
  t.throws(() => readChecked(4096, 0, -1), { code: 'ERR_OUT_OF_RANGE' });
});

test('turned off, it says so', async (t) => {
  const code = `import { acquireLease, guardMapping, installSigbusTrap } from '@zerocopy/lease-guard';
    const codes = [];
    await acquireLease(process.execPath, 'read').catch((error) => codes.push(error.code, /ZEROCOPY_DISABLE/.test(error.message)));
    try { installSigbusTrap(); } catch (error) { codes.push(error.code); }
    try { guardMapping(65536, 4096); } catch (error) { codes.push(error.code); }
    console.log(codes.join(' '));`;
  const { stdout, stderr } = await runProgram('env', [
    'ZEROCOPY_DISABLE=all',
    process.execPath,
    '--input-type=module',
    '-e',
    code,
  ]);
  const unavailable = 'ERR_ZEROCOPY_UNAVAILABLE';
  t.is(stdout.trim(), `${unavailable} true ${unavailable} ${unavailable}`, stderr);
});

trapTest('an architecture for which there is no handler: it says which', async (t) => {
  const code = `import { feature } from '@zerocopy/core-syscalls';
    import { guardMapping, installSigbusTrap } from '@zerocopy/lease-guard';
    feature('sigbusTrap');
    Object.defineProperty(process, 'arch', { value: 'loong64' });
    for (const call of [installSigbusTrap, () => guardMapping(65536, 65536)]) {
      try { call(); } catch (error) { console.log(error.code, error.message); }
    }
    console.log(String(guardMapping(65536, 65536, { trap: false }).trapCount));`;
  const { stdout, stderr } = await runProgram(process.execPath, ['--input-type=module', '-e', code]);
  const refused =
    'ERR_ZEROCOPY_UNAVAILABLE the SIGBUS trap is not available: there is no handler for the architecture loong64';
  t.deepEqual(stdout.trim().split('\n'), [refused, refused, '0'], stderr);
});

trapTest('installing is cheap to repeat, and changes nothing', (t) => {
  installSigbusTrap();
  const caught = (): string | undefined => /SigCgt:\s*(\w+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  const before = caught();
  installSigbusTrap();
  t.is(caught(), before);
});

const arm64 = process.env.ZEROCOPY_ARM64;
(arm64 === undefined ? test.skip : trapTest)(
  `arm64: the handler answers, counts and passes on (${arm64 === undefined ? 'not run: ZEROCOPY_ARM64 names no command that runs an arm64 Node; npm run test:matrix does' : 'under qemu-user'})`,
  async (t) => {
    const [program = '', ...args] = (arm64 as string).split(' ');
    const run = (how: string, ...more: string[]): Promise<Ended> =>
      runProgram(program, [...args, fixture('mapped'), how, join(directory, `arm64-${how}`), ...more]);
    const told = answer(await run('trap'));
    t.deepEqual(told.seen, [M, M, 0, 0, 0]);
    t.like(told, { traps: 1, truncated: true, checked: 'ERR_FILE_TRUNCATED' });
    t.deepEqual(answer(await run('listener-after')), { first: 0, traps: 1, heard: 1 });
    t.like(answer(await run('other-file')), { truncated: false, copiedPages: 2, unreadablePages: 0 });
    t.like(answer(await run('other-file', 'unreadable')), { truncated: false, copiedPages: 2, unreadablePages: 2 });
    // qemu passes the signal on by its own status or as the signal.
    for (const how of ['none', 'foreign-fault', 'foreign-sent']) {
      const { status, signal, stdout } = await run(how);
      t.true(signal === 'SIGBUS' || status === 135, `${how}: ${status} ${signal}`);
      t.is(stdout, '');
    }
  },
);

const asm = fileURLToPath(new URL('../asm/', import.meta.url));
for (const [architecture, prefix] of [
  ['x64', process.arch === 'x64' ? '' : 'x86_64-linux-gnu-'],
  ['arm64', process.arch === 'arm64' ? '' : 'aarch64-linux-gnu-'],
] as const) {
  const present = ['as', 'objcopy'].every((tool) => spawnSync(`${prefix}${tool}`, ['--version']).status === 0);
  (present ? test : test.skip)(
    `the machine code for ${architecture} is what its source assembles to${present ? '' : ` (no ${prefix}as here)`}`,
    async (t) => {
      const work = join(directory, architecture);
      mkdirSync(work);
      execFileSync(`${prefix}as`, ['-o', join(work, 'handler.o'), join(asm, `sigbus-${architecture}.S`)]);
      execFileSync(`${prefix}objcopy`, ['-O', 'binary', join(work, 'handler.o'), join(work, 'handler.bin')]);
      const assembled = readFileSync(join(work, 'handler.bin'));
      const source = readFileSync(fileURLToPath(new URL('../src/machine-code.ts', import.meta.url)), 'utf8');
      const [, literal = ''] = new RegExp(`${architecture}:\\n((?:    '[^']+'.*\\n)+)`).exec(source) ?? [];
      const code = Buffer.from([...literal.matchAll(/'([^']+)'/g)].map(([, part]) => part).join(''), 'base64');
      t.true(assembled.length > 200);
      t.is(code.toString('hex'), assembled.toString('hex'));
    },
  );
}
