/** A real EMFILE in the midst of each transfer: the same bytes, or EMFILE; nothing left open; and it goes on afterwards. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { HungryReport } from '@zerocopy/conformance/security/hungry';
import { libcStatus } from '@zerocopy/core-syscalls';
import test from 'ava';

const run = promisify(execFile);
const program = fileURLToPath(new URL('../dist/security/hungry.js', import.meta.url));
const libc = libcStatus();
const enabled = process.env.ZEROCOPY_DISABLE === undefined;

(libc.available && enabled ? test : test.skip)(
  `no descriptor to be had, in the midst of it${libc.available ? (enabled ? '' : ' (needs the kernel path)') : ` (${libc.reason})`}`,
  async (t) => {
    const { stdout } = await run(process.execPath, [program, '3']); // the others: main.js
    const { complaints, whole } = JSON.parse(stdout) as HungryReport;
    t.deepEqual(complaints, []);
    t.true(whole > 0);
  },
);
