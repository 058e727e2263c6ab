/**
 * Faults at calls of a name: those that were wrong once, and those that alone lead to some code, which is run each day
 * by them.
 */
import '@zerocopy/conformance/faults/install';
import { attempt, describeFault, exhaust, FAULTS, type Trial } from '@zerocopy/conformance/faults/exhaustive';
import type { Fault, FaultPlan } from '@zerocopy/conformance/faults/injection';
import { probeUnder } from '@zerocopy/conformance/faults/probe';
import { trapUnder } from '@zerocopy/conformance/faults/trap';
import { sendWays, wayNamed } from '@zerocopy/conformance/ways/index';
import { one, type Way } from '@zerocopy/conformance/ways/way';
import { type FeatureName, feature } from '@zerocopy/core-syscalls';
import { pipePoolStats, splice } from '@zerocopy/splice-pipe';
import { MiB, pattern } from '@zerocopy/testing/bytes';
import { testsWhere } from '@zerocopy/testing/kernel-tests';
import { until } from '@zerocopy/testing/waiting';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';

// All are tried out now: a fault is to meet the way, not the probe, which remembers. One test at a time: faults meet
// every call of the thread.
const needed: readonly FeatureName[] = 'tee splice sendfile copyFileRange mmap sigbusTrap memfdSeals lease'.split(
  ' ',
) as FeatureName[];
const { serial: kernelTest } = testsWhere('the kernel path', ...needed.map((name) => feature(name)));

const content = pattern(300_000);
const seed = process.env.CI ? 1 : Math.floor(Math.random() * 2 ** 31);
const fails = (code: string, times = 1): Fault => ({ kind: 'errno', code, times });
const SHORT: Fault = { kind: 'short' };

/** What the destination has no room for is taken out of the pipe by reading it. */
const fromFullPipe: Way = {
  name: 'splice from a pipe that is full to a unix socket with little room',
  async begin(stage) {
    const expected = stage.content.subarray(0, 60_000);
    const from = stage.pipeSource('number', { content: expected });
    const to = await stage.socketDestination('unix', { late: true, expected });
    stage.set();
    return { over: one(splice(from, to)) };
  },
};

const wayOf = (name: string, absent: readonly string[] = []): Way => {
  const found = name === fromFullPipe.name ? fromFullPipe : wayNamed(name);
  return absent.length === 0 ? found : { ...found, background: { ...found.background, absent } };
};

const tried = new Set<string>();

/** One trial that must have met its call, and have nothing wrong. */
async function pinned(t: ExecutionContext, way: Way, plan: FaultPlan): Promise<Trial> {
  // What is started and bound once, such as the thread of the leases, is not part of the trial.
  if (!tried.has(way.name)) await exhaust(way, { content, firstCalls: 0 });
  tried.add(way.name);
  const trial = await attempt(way, content, plan);
  const what = `${way.name}: ${describeFault(plan.fault)} at ${plan.only} ${plan.at}`;
  t.is(trial.complaint, undefined, what);
  t.true(trial.call !== undefined, `${what}: it was met`);
  return trial;
}

/** 'arrives': in spite of it. A code: that of an error told. 'either': an error, or everything arrives. */
type Outcome = 'arrives' | 'either' | { readonly code: string };

interface Case {
  readonly way: string;
  /** Calls that the kernel does not have. */
  readonly absent?: readonly string[];
  readonly call: string;
  /** Which of the calls of that name, counted from 1; each is a trial. */
  readonly at: readonly number[];
  readonly fault: Fault;
  readonly outcome: Outcome;
}

const of = (
  way: string,
  ...cases: readonly (readonly [call: string, at: number | readonly number[], fault: Fault, outcome?: Outcome])[]
): Case[] =>
  cases.map(([call, at, fault, outcome = 'either']) => ({ way, call, at: [at].flat() as number[], fault, outcome }));
const without = (absent: string, cases: readonly Case[]): Case[] => cases.map((one) => ({ ...one, absent: [absent] }));

const INTO_FILE = 'splice from a unix socket to a file';
const FROM_FILE = 'splice from a file to a unix socket, read late';
const TEE = 'tee to two unix sockets, one of them read late';
const TEE_TO_FILE = 'tee to a socket and a file';
const STREAM = 'createSpliceWriteStream from a unix socket';

const cases: readonly Case[] = [
  // The copy was left there, and no bytes were told; or the copy was whole, and an error was told.
  ...of(
    'copyFile by copy_file_range',
    ['fs.close', 1, fails('EIO')],
    ['fs.closeSync', 1, fails('EIO')],
    ['copy_file_range', 1, fails('EINTR'), 'arrives'],
    ['copy_file_range', 1, fails('ENOMEM')],
    ['fs.fchmod', 1, fails('EPERM')],
  ),
  ...of('copyFile with holes by splice', ['fs.ftruncate', 1, fails('EIO')], ['lseek', 1, fails('EINTR'), 'arrives']),
  // What the other direction's stream had in flight was not counted.
  ...of('proxy between unix sockets, both at once, read late', ['splice', [1, 2, 3, 4, 5, 6, 7, 8], fails('EIO')]),
  // Did not wait, and did not go on by another way.
  ...of(
    'copyFile by splice',
    ['splice', 1, fails('EAGAIN', 20)],
    ['splice', 2, fails('EAGAIN')],
    ['splice', 1, fails('EINTR'), 'arrives'],
    ['splice', 2, SHORT, 'arrives'],
    ['splice', 2, fails('ENOMEM')],
  ),
  ...of('copyFile by read and write', ['fs.read', 1, fails('EIO')], ['fs.write', 1, SHORT, 'arrives']),
  // close() stopped half-way, and held the file, the mapping and the lease for good.
  ...of('mapFile with a lease', ['mmap', 3, fails('ENOMEM')], ['fs.closeSync', 1, fails('EIO')]),
  ...of(
    'mapFile with a trap',
    ['statx', 5, fails('EIO')],
    ['madvise', 1, fails('EINTR', 5)],
    ['madvise', 1, fails('EINVAL'), 'arrives'],
  ),
  ...of('mapFile for writing, flushed both ways', ['msync', 1, fails('EINTR')]),
  ...of('mapFileSync', ['madvise', 1, fails('EINVAL'), 'arrives'], ['madvise', 1, fails('ENOMEM')]),
  ...of('mapFile where nothing can be mapped', ['fs.read', 1, fails('EINTR'), 'arrives']),
  // The file stayed larger than its mapping.
  ...of('resize: grown beyond what was reserved', ['mmap', 1, fails('ENOMEM')]),
  ...of('resize: grown and shrunk in place', ['sigaction', 2, fails('EIO')], ['mmap', 4, fails('ENOMEM', 2)]),
  ...of('resize: grown where there is no fallocate', ['fs.ftruncate', 1, fails('EIO')]),
  // A descriptor was lost; the pool stayed mapped, or locked for everybody else.
  ...of(
    'SharedBufferPool, opened from another thread',
    ['fs.openSync', 2, fails('EMFILE')],
    ['pread', 1, fails('EINTR')],
    ['fcntl', 2, fails('EIO')],
  ),
  ...of(
    'SharedBufferPool, filled for another thread',
    ['fs.closeSync', 1, fails('EIO')],
    ['pwrite', 1, SHORT],
    ['fcntl', 5, fails('EAGAIN')],
  ),
  // The stream failed, and could have gone on.
  ...of(
    'createMmapReadStream to a file',
    ['mmap', 2, fails('EPERM'), 'arrives'],
    ['madvise', 1, fails('ENOSYS'), 'arrives'],
    ['mmap', 1, fails('EIO')],
    ['madvise', 1, fails('EFAULT')],
  ),
  ...of(
    'createMmapReadStream where nothing can be mapped',
    ['fs.read', 1, SHORT, 'arrives'],
    ['fs.read', 1, fails('EIO')],
    ['fs.read', 1, fails('EINTR'), 'arrives'],
  ),
  // The lease was called released, and was not.
  ...of(
    'a lease on a descriptor',
    ['fcntl', 4, fails('EINTR')],
    ['fcntl', 4, fails('EIO', 5)],
    ['fcntl', 3, fails('EACCES')],
    ['fcntl', 4, fails('EIO', 40)],
  ),
  // Copied into a file: written on, where a write takes a part. Copied out of one.
  ...without('splice', [
    ...of(INTO_FILE, ['fs.write', [1, 2], SHORT, 'arrives'], ['fs.write', [1, 2], fails('ENOSPC'), { code: 'ENOSPC' }]),
    ...of(FROM_FILE, ['fs.read', [1, 2], SHORT, 'arrives'], ['fs.read', [1, 2], fails('EIO'), { code: 'EIO' }]),
  ]),
  // A file never has to be waited for, whatever is said: the piece is copied.
  ...of(FROM_FILE, ['splice', 1, fails('EAGAIN'), 'arrives']),
  ...of(INTO_FILE, ['splice', 2, fails('EAGAIN'), 'arrives'], ['splice', 2, fails('EINTR'), 'arrives']),
  ...of(
    'splice from a number of a pipe to a file',
    ['splice', 1, fails('EAGAIN'), 'arrives'],
    ['splice', [1, 2], fails('EINTR'), 'arrives'],
    ['splice', [1, 2], fails('ENOSYS'), 'arrives'],
    ['splice', [1, 2], fails('ENOSPC'), { code: 'ENOSPC' }],
  ),
  ...of(
    "splice from a pipe's stream to a unix socket, read late",
    ['splice', [1, 2], fails('EINTR'), 'arrives'],
    ['splice', [1, 2], fails('ENOSYS'), 'arrives'],
    ['splice', [1, 2], fails('EIO'), { code: 'EIO' }],
  ),
  ...of(
    fromFullPipe.name,
    ['read', 1, fails('EINTR', 3), 'arrives'],
    ['read', 1, fails('EAGAIN', 3), 'arrives'],
    ['read', 1, fails('EIO', 3), { code: 'EIO' }],
  ),
  // One destination of two: it is dropped with its count, and the other has everything; or both have, by copying.
  ...of(
    TEE_TO_FILE,
    ['splice', [2, 3, 4, 5], fails('EAGAIN'), 'arrives'],
    ['splice', [2, 3, 4, 5], fails('EINTR', 2), 'arrives'],
    ['splice', [2, 3, 4, 5], fails('ENOSYS'), 'arrives'],
  ),
  // The source's piece is in the pipe, and cannot be had.
  ...without(
    'tee',
    of(
      TEE,
      ['read', 1, fails('EIO', 3), { code: 'EIO' }],
      ['read', 1, fails('EINTR', 3), 'arrives'],
      ['read', 1, SHORT, 'arrives'],
    ),
  ),
  // tee goes on without splice, without tee, and after a short one.
  ...[TEE, TEE_TO_FILE].flatMap((way) =>
    [fails('EINVAL'), fails('EINTR', 5), SHORT].flatMap((fault) =>
      of(way, ['tee', 1, fault, 'arrives'], ['splice', 1, fault, 'arrives']),
    ),
  ),
  // What cannot be duplicated, or asked for its flags, is left to Node.
  ...of(STREAM, ['fcntl', [1, 2, 3], fails('EMFILE'), 'arrives']),
];

// Not while there is an idle pipe, which would do instead of the one that cannot be made.
kernelTest('without a pipe to be had, and refused by the kernel, a file is not written byte by byte', async (t) => {
  for (const [call, way, fault] of [
    ['pipe2', INTO_FILE, fails('EMFILE', 1000)],
    ['splice', INTO_FILE, fails('ENOSYS')],
    ['splice', 'splice from a number of a pipe to a file', fails('ENOSYS')],
    ['splice', STREAM, fails('ENOSYS')],
  ] as const) {
    await exhaust(wayNamed(way), { content, firstCalls: 0 });
    tried.add(way);
    await until(() => pipePoolStats().idle === 0);
    const { calls, deliveries } = await pinned(t, wayNamed(way), { at: 1, only: [call], fault });
    for (const { error } of deliveries) t.is(error, undefined, way);
    t.true(calls.length < 100, `${way}: ${calls.length} calls`);
  }
});

for (const { way, absent, call, at, fault, outcome } of cases) {
  const background = absent === undefined ? '' : `, without ${absent.join()}`;
  kernelTest(`${way}${background}: ${describeFault(fault)} at ${call} ${at.join()}`, async (t) => {
    for (const nth of at) {
      const { deliveries } = await pinned(t, wayOf(way, absent), { at: nth, only: [call], fault });
      const codes = deliveries.map(({ error }) => error?.code);
      if (outcome === 'arrives') t.deepEqual([...new Set(codes)], [undefined], `at ${nth}`);
      else if (outcome !== 'either') t.true(codes.includes(outcome.code), `at ${nth}: ${codes}`);
    }
  });
}

kernelTest('a destination of tee that fails is dropped with its count; the other has everything', async (t) => {
  for (const code of ['EIO', 'ENOSPC']) {
    for (const at of [2, 3]) {
      const { deliveries } = await pinned(t, wayNamed(TEE_TO_FILE), { at, only: ['splice'], fault: fails(code) });
      t.deepEqual(deliveries.map(({ error }) => error?.code).toSorted(), [code, undefined]);
      t.true(deliveries.some(({ bytes }) => bytes === content.length));
    }
  }
});

kernelTest('a file is not written to once it has failed, by what its source is given back', async (t) => {
  // The first splice fills the pipe, the second writes.
  for (const code of ['EIO', 'ENOSPC']) {
    const { deliveries } = await pinned(t, wayNamed(STREAM), { at: 2, only: ['splice'], fault: fails(code) });
    t.like(deliveries[0], { error: { code }, bytes: 0 });
  }
});

kernelTest('what a pipe holds is read in spite of EINTR; where it cannot be, its source fails', async (t) => {
  const way = wayNamed('splice with a length from a unix socket, read late');
  const arrived = await pinned(t, way, { at: 1, only: ['read'], fault: fails('EINTR', 5) });
  for (const { error } of arrived.deliveries) t.is(error, undefined);
  const { deliveries } = await pinned(t, way, { at: 1, only: ['read'], fault: fails('EIO', 20) });
  t.is(deliveries.length, 1, 'the source is destroyed: nobody reads on behind the gap');
});

kernelTest('a descriptor that cannot be duplicated: the error has its count', async (t) => {
  for (const name of ['splice from a file to a file', 'splice from a number of a pipe to a unix socket']) {
    const { deliveries } = await pinned(t, wayNamed(name), { at: 1, only: ['fcntl'], fault: fails('EMFILE', 1000) });
    t.like(deliveries[0], { error: { code: 'EMFILE' }, bytes: 0 });
  }
});

kernelTest('in chunks of 1 MiB: refused in the midst of one, and between two, the framing is right', async (t) => {
  const large = pattern(3 * MiB + 7);
  const inChunks = sendWays.filter(({ name }) => name.includes('in chunks'));
  t.true(inChunks.length >= 2);
  for (const way of inChunks) {
    for (let at = 1; at <= 12; at++) {
      for (const code of ['EINVAL', 'EIO']) {
        const { complaint, call } = await attempt(way, large, { at, fault: fails(code), only: ['sendfile'] });
        t.is(complaint, undefined, `${way.name}: ${code} at sendfile ${at} (${call ?? 'not met'})`);
      }
    }
  }
});

kernelTest('the first SIGBUS trap of a process: its code is written whole, or it is not there', async (t) => {
  const [whole, none] = await Promise.all([trapUnder(4, SHORT), trapUnder(4, fails('ENOSPC'))]);
  t.like(whole, { complaint: undefined, call: 'write', code: undefined });
  t.like(none, { complaint: undefined, call: 'write', code: 'ENOSPC' });
});

test.serial('the probe does not throw, says why, and leaves nothing behind', async (t) => {
  const { calls, complaint } = await probeUnder('probe', 0, undefined);
  t.is(complaint, undefined);
  for (const at of fc.sample(fc.integer({ min: 1, max: Math.max(1, calls) }), { seed, numRuns: 5 })) {
    const fault = FAULTS[at % FAULTS.length] as Fault;
    const trial = await probeUnder('probe', at, fault);
    t.is(trial.complaint, undefined, `${describeFault(fault)} at call ${at} (${trial.call}); seed ${seed}`);
  }
});

test.serial('what a failing call tells the probe is why a feature is missing, and nothing else is', async (t) => {
  const expectations: readonly (readonly [call: string, fault: Fault, missing: RegExp | undefined])[] = [
    ['fs.readdirSync', fails('EIO'), undefined],
    ['socket', fails('EMFILE', 20), /^(msgZerocopy|kernelTls|ioUring): /],
    ['read', SHORT, /^sendfile: the bytes that arrived are not those that were sent$/],
    ['fs.rmSync', fails('EIO'), undefined],
    ['statx', fails('EIO'), /^statxDirectIo: EIO/],
    ['sigaction', fails('EINVAL'), /^sigbusTrap: EINVAL.* \(this kernel or filesystem does not support it\)$/],
    ['setsockopt', fails('ENOMEM'), /^msgZerocopy: ENOMEM/],
  ];
  const { missing: always } = await probeUnder('probe', 0, undefined);
  for (const [call, fault, expected] of expectations) {
    const { complaint, missing, call: met } = await probeUnder('probe', 1, fault, [call]);
    t.is(complaint, undefined, call);
    if (met === undefined) continue; // turned off
    const more = missing.filter((name) => !always.includes(name));
    if (expected === undefined) t.deepEqual(more, [], call);
    else for (const reason of more) t.regex(reason, expected);
  }
});

test.serial('probePath: what statfs and close say goes into the report', async (t) => {
  for (const at of [2, 7]) t.is((await probeUnder('probePath', at, fails('EIO'))).complaint, undefined);
  for (const code of ['EACCES', 'EAGAIN', 'EINVAL']) {
    const { missing, call } = await probeUnder('probePath', 1, fails(code), ['fcntl']);
    if (call !== undefined) t.regex(missing.join(), new RegExp(`lease: .*\\(${code}\\)`));
  }
  const { missing, call } = await probeUnder('probePath', 1, fails('ENOSYS'), ['statx']);
  if (call !== undefined) t.regex(missing.join(), /directIo: ENOSYS/);
});
