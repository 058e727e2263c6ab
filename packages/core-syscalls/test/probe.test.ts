import { execFile } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify, stripVTControlCharacters } from 'node:util';
import {
  type CapabilityReport,
  disabledFeatures,
  feature,
  featureNames,
  formatReport,
  knownProblems,
  libcStatus,
  probe,
  probePath,
} from '@zerocopy/core-syscalls';
import { fifoWithWriter } from '@zerocopy/testing/fifo';
import test from 'ava';

const run = promisify(execFile);
const status = libcStatus();
const onLinux = status.available ? test.serial : test.skip;
if (!status.available) test.skip(`the probe on Linux: ${status.reason}`, () => {});

const child = fileURLToPath(new URL('./fixtures/probe-in-child.js', import.meta.url));

interface ChildReport {
  readonly report: CapabilityReport;
  readonly text: string;
  readonly raw: number;
  readonly stderr: string;
}

async function probeInChild(how: string, environment: Record<string, string> = {}): Promise<ChildReport> {
  const env: NodeJS.ProcessEnv = { ...process.env, ...environment };
  if (environment.ZEROCOPY_DISABLE === undefined) delete env.ZEROCOPY_DISABLE;
  const { stdout, stderr } = await run(process.execPath, [child, how], { env });
  return { ...(JSON.parse(stdout) as Omit<ChildReport, 'stderr'>), stderr };
}

onLinux('every feature is answered, with a reason where it is missing; asked twice, the same report', (t) => {
  const report = probe();
  t.is(report.platform, 'linux');
  t.regex(report.kernel, /^\d+\.\d+/);
  t.deepEqual(Object.keys(report.features), [...featureNames]);
  for (const name of featureNames) {
    const { available, reason } = report.features[name];
    t.is(typeof available, 'boolean', name);
    t.is(typeof reason, available ? 'undefined' : 'string', name);
    if (!available) t.log(`${name}: ${reason}`);
    t.is(feature(name), report.features[name]);
  }
  const { available, reason } = feature('senfile' as 'sendfile');
  t.false(available);
  t.regex(reason ?? '', /^there is no feature 'senfile', but sendfile, /);
  t.is(probe(), report);
  t.true((report.limits.leaseBreakTimeMs ?? 1000) >= 1000);
});

onLinux('the loopback interface is listed and says whether it gathers', (t) => {
  const loopback = probe().interfaces.find(({ name }) => name === 'lo');
  t.truthy(loopback);
  if (loopback?.scatterGather === undefined) t.is(typeof loopback?.reason, 'string');
  else t.is(typeof loopback.checksumOffload, 'boolean');
});

onLinux('it leaves no descriptor and no file behind', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'zerocopy-empty-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const { report } = await probeInChild('descriptors', { TMPDIR: directory });
  t.is((report as unknown as { leaked: number }).leaked, 0);
  t.deepEqual(readdirSync(directory), []);
});

onLinux('ZEROCOPY_DISABLE=all, a list, and a name that is none', async (t) => {
  const all = await probeInChild('report', { ZEROCOPY_DISABLE: 'all' });
  for (const name of featureNames) {
    t.deepEqual(all.report.features[name], { available: false, reason: 'disabled by ZEROCOPY_DISABLE' });
  }
  const some = await probeInChild('report', { ZEROCOPY_DISABLE: 'tee, mmap' });
  t.deepEqual(
    featureNames.filter((name) => some.report.features[name].reason === 'disabled by ZEROCOPY_DISABLE'),
    ['tee', 'mmap'],
  );
  t.true(some.report.features.splice.available);
  const one = await probeInChild('report', { ZEROCOPY_DISABLE: 'splice-pipe, @zerocopy/file-copy' });
  t.deepEqual([...one.report.disabledPackages].sort(), ['file-copy', 'splice-pipe']);
  t.is(one.report.configurationError, undefined);
  t.true(one.report.features.splice.available, 'for the others');
  t.regex(one.text, /disabled: splice-pipe, file-copy/);
  const wrong = await probeInChild('report', { ZEROCOPY_DISABLE: 'tee,sendfiel' });
  t.regex(
    wrong.report.configurationError ?? '',
    /takes 'all' or a comma-separated list of sendfile, .*; got 'sendfiel'/,
  );
  t.regex(wrong.stderr, /ERR_ZEROCOPY_DISABLE/);
  t.false(wrong.report.features.tee.available);
  t.true(wrong.report.features.sendfile.available);
  t.regex(wrong.text, /sendfiel/);
});

onLinux('what is turned off here, if anything is, is turned off in the report', (t) => {
  const off = featureNames.filter((name) => feature(name).reason === 'disabled by ZEROCOPY_DISABLE');
  t.deepEqual([...disabledFeatures()].sort(), off.sort());
});

test('on another platform, on another architecture and without koffi, everything imports and says why', async (t) => {
  for (const [how, reason] of [
    ['darwin', /exist on Linux only; this is darwin/],
    ['architecture', /no system-call table for the architecture riscv64/],
    ['koffi', /koffi cannot be loaded: Cannot find module/],
  ] as const) {
    const { report, raw, text } = await probeInChild(how);
    for (const name of featureNames) {
      t.false(report.features[name].available);
      t.regex(report.features[name].reason ?? '', reason);
    }
    t.is(raw, -38, 'raw calls answer ENOSYS');
    t.true(text.length > 0);
  }
});

// The emulator's own calls would be filtered, and not those of what it runs.
const emulated = process.env.ZEROCOPY_NODE !== undefined;
(emulated ? test.skip : onLinux)(
  `a sandbox that forbids a call: the probe says so and names the refusal${emulated ? ' (needs a kernel of its own, not qemu-user)' : ''}`,
  async (t) => {
    const { report } = await probeInChild('seccomp');
    t.false(report.features.sendfile.available);
    t.regex(
      report.features.sendfile.reason ?? '',
      /EPERM: .*, sendfile \(a sandbox \(seccomp\) or a missing privilege refuses it\)/,
    );
    t.true(report.features.splice.available);
  },
);

(process.getuid?.() === 0 ? onLinux : test.skip)(
  `as a normal user${process.getuid?.() === 0 ? '' : ' (needs root to become one: this run is one already)'}`,
  async (t) => {
    const { report } = await probeInChild('user');
    for (const name of ['sendfile', 'splice', 'tee', 'mmap', 'memfdSeals'] as const) {
      t.true(report.features[name].available, report.features[name].reason);
    }
  },
);

test('known-bad kernels are named (kernel-rules: bad-kernels)', (t) => {
  const ids = (kernel: string, zfs?: string): string[] => knownProblems(kernel, zfs).map(({ id }) => id);
  for (const kernel of ['5.8.0', '5.10.101', '5.10.0-28-amd64', '5.15.24', '5.16.10', '5.12']) {
    t.deepEqual(ids(kernel), ['CVE-2022-0847'], kernel);
  }
  for (const kernel of ['4.19.0', '5.7.19', '5.10.102', '5.15.25', '5.16.11', '5.17.0', '6.18.44-x', 'odd']) {
    t.deepEqual(ids(kernel), [], kernel);
  }
  t.deepEqual(ids('6.5.3', '2.1.12-1'), ['zfs-splice']);
  t.deepEqual(ids('6.6.0', '2.1.12-1'), []);
  t.deepEqual(ids('6.5.3', '2.3.0'), []);
});

onLinux('probePath tells what a path can do, and changes nothing', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'zerocopy-path-'));
  try {
    const path = join(directory, 'file');
    writeFileSync(path, 'content');
    const report = probePath(path);
    t.is(report.sendfileSource.available, feature('sendfile').available, report.sendfileSource.reason);
    t.is(typeof report.filesystem, 'string');
    t.true(report.directIo.available ? (report.directIo.memoryAlign ?? 0) > 0 : report.directIo.reason !== undefined);
    t.is(probePath('/proc/self/status').filesystem, 'procfs');
    t.regex(probePath('/proc/self/status').sendfileSource.reason ?? '', /no size that can be trusted|disabled/);
    for (const kept of ['/proc/self/status', '/sys/kernel/notes']) {
      t.regex(probePath(kept).directIo.reason ?? '', /makes up the files|ENOENT|EACCES|disabled/, kept);
    }
    t.regex(probePath(directory).sendfileSource.reason ?? '', /not a regular file/);
    t.regex(probePath(join(directory, 'none')).lease.reason ?? '', /ENOENT/);
    t.deepEqual(readdirSync(directory), ['file']);
  } finally {
    rmSync(directory, { recursive: true });
  }
  t.throws(() => probePath(3 as never), { instanceOf: TypeError, message: /takes a path as a string; got number/ });
});

onLinux(
  'probePath looks at a FIFO without opening it: its writer loses nothing (kernel-rules: fifo-open)',
  async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'zerocopy-path-'));
    const path = join(directory, 'fifo');
    const writer = await fifoWithWriter(path, 'for somebody else');
    try {
      const report = probePath(path);
      t.regex(report.sendfileSource.reason ?? '', /not a regular file/);
      t.is(typeof report.filesystem, 'string');
      t.is(readFileSync(path, 'utf8'), 'for somebody else');
      await writer.read;
      for (const device of ['/dev/null', '/dev/full']) {
        t.regex(probePath(device).directIo.reason ?? '', /not a regular file/, device);
      }
    } finally {
      writer.stop();
      rmSync(directory, { recursive: true });
    }
  },
);

onLinux('probePath: a file in memory is not read past the page cache, although tmpfs takes O_DIRECT', (t) => {
  const directory = mkdtempSync('/dev/shm/zerocopy-path-');
  try {
    const path = join(directory, 'file');
    writeFileSync(path, 'content');
    t.regex(probePath(path).directIo.reason ?? '', /tmpfs keeps its files in memory|disabled/);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

onLinux('the formatted report has a line for every feature and card', (t) => {
  const report = probe();
  const text = formatReport(report);
  for (const name of featureNames) t.true(text.includes(name));
  for (const { name } of report.interfaces) t.true(text.includes(name));
});

test.serial('a report for a terminal: coloured unless NO_COLOR is set; what is not known is called so', (t) => {
  const { limits, ...report } = probe();
  const strange: CapabilityReport = {
    ...report,
    features: {
      ...report.features,
      tee: { available: true },
      mmap: { available: false, reason: 'a sandbox' },
      lease: { available: false } as never,
    },
    interfaces: [
      { name: 'a0', scatterGather: true, checksumOffload: true, segmentationOffload: true, mtu: 1500 },
      { name: 'b0', scatterGather: false, checksumOffload: true, segmentationOffload: undefined, mtu: 1500 },
      {
        name: 'c0',
        scatterGather: undefined,
        checksumOffload: undefined,
        segmentationOffload: undefined,
        mtu: undefined,
        reason: 'no socket',
      },
      {
        name: 'd0',
        scatterGather: undefined,
        checksumOffload: undefined,
        segmentationOffload: undefined,
        mtu: undefined,
      },
    ],
    limits: { ...limits, pipeMaxSize: undefined, pipeUserPagesSoft: undefined, leaseBreakTimeMs: undefined },
    knownProblems: [{ id: 'CVE-0000-0000', description: 'it forgets' }],
  };
  const { isTTY } = process.stdout;
  const { NO_COLOR } = process.env;
  t.teardown(() => {
    process.stdout.isTTY = isTTY;
    if (NO_COLOR === undefined) delete process.env.NO_COLOR;
    else process.env.NO_COLOR = NO_COLOR;
  });
  delete process.env.NO_COLOR;
  process.stdout.isTTY = true;
  const coloured = formatReport(strange);
  process.env.NO_COLOR = '1';
  const plain = formatReport(strange);
  t.true(coloured.includes('\u001b['));
  t.false(plain.includes('\u001b['));
  t.is(stripVTControlCharacters(coloured), plain);
  t.regex(plain, /✖ mmap +a sandbox/);
  t.regex(plain, /a0 .*free of copies/);
  t.regex(plain, /b0 .*off.*costs one copy/);
  t.regex(plain, /c0 +unknown: no socket/);
  t.regex(plain, /d0 +unknown: it could not be asked/);
  t.regex(plain, /! CVE-0000-0000: it forgets/);
  t.notRegex(plain, /KiB|pipe pages|leases broken/);
  t.regex(formatReport({ ...strange, limits: { ...limits, pipeMaxSize: 65_536 } }), /pipes up to 64 KiB/);
});

onLinux('probePath: an empty file, one that is executed, and a filesystem without a name', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'zerocopy-path-'));
  try {
    const path = join(directory, 'file');
    writeFileSync(path, '');
    if (feature('sendfile').available) t.regex(probePath(path).sendfileSource.reason ?? '', /the file is empty/);
    const fd = openSync(path, 'r+');
    if (feature('lease').available) t.regex(probePath(path).lease.reason ?? '', /open for writing \(EAGAIN\)/);
    closeSync(fd);
    const other = probePath('/proc/self/ns/net'); // nsfs, of which nothing is known
    t.regex(other.filesystem ?? '', /^0x[0-9a-f]+$/);
    t.regex(other.reflink.reason ?? '', /not a regular file|not known to share/);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
