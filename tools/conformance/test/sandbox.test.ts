/** A real seccomp filter, which forbids the calls before anything is probed, and in the midst of everything. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { FORBIDDABLE, sandboxRefusal } from '@zerocopy/conformance/security/sandbox';
import type { SandboxReport } from '@zerocopy/conformance/security/sandboxed';
import { libcStatus } from '@zerocopy/core-syscalls';
import test, { type TestFn } from 'ava';

const run = promisify(execFile);
const program = fileURLToPath(new URL('../dist/security/sandboxed.js', import.meta.url));
const libc = libcStatus();
const refusal = libc.available ? sandboxRefusal() : libc.reason;
const sandboxTest = (refusal === undefined ? test : test.skip) as TestFn;
const because = refusal === undefined ? '' : ` (${refusal})`;

/** What cannot be had without them: it fails clearly. Everything else brings the same bytes. */
const MAY_FAIL = /SharedBufferPool|\blease\b/;
/** By which the probe finds out. */
const FEATURES: Readonly<Record<string, string>> = {
  sendfile: 'sendfile',
  splice: 'splice',
  tee: 'tee',
  vmsplice: 'vmsplice',
  copyFileRange: 'copy_file_range',
  openat2: 'openat2',
  preadvNowait: 'preadv2',
  cachestat: 'cachestat',
  memfdSeals: 'memfd_create',
  ioUring: 'io_uring_setup',
  lease: 'fcntl(F_SETLEASE)',
  sigbusTrap: 'mmap(PROT_EXEC)',
};

async function sandboxed(moment: string, code: string, calls: readonly string[]): Promise<SandboxReport> {
  const { stdout } = await run(process.execPath, [program, moment, code, ...calls]);
  return JSON.parse(stdout) as SandboxReport;
}

// libuv has its own use for a ring, which it has made before, and aborts where that is forbidden afterwards (Node 22 and later).
const libuvs = Number.parseInt(process.versions.node, 10) >= 22 ? ['io_uring_enter'] : [];
const all = Object.keys(FORBIDDABLE).filter((call) => !libuvs.includes(call));
for (const [moment, code, calls] of [
  ['before', 'EPERM', all],
  // Without pipe2 no worker is started, so nothing is refused for want of executable mappings: V8 ends the process then.
  ['during', 'ENOSYS', all],
] as const) {
  sandboxTest(
    `forbidden ${moment} (${code}, ${calls.length} calls): the same bytes by other ways${because}`,
    async (t) => {
      const { complaints, refused, missing } = await sandboxed(moment, code, calls);
      t.deepEqual(complaints, []);
      t.deepEqual(
        refused.filter(([name]) => !MAY_FAIL.test(name)),
        [],
      );
      if (moment === 'during') return;
      for (const [feature, call] of Object.entries(FEATURES)) {
        if (calls.includes(call) && process.env.ZEROCOPY_DISABLE === undefined)
          t.regex(missing[feature] ?? '', new RegExp(code), feature);
      }
    },
  );
}
