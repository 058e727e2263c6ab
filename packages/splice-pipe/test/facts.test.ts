/** Each socket is asked once what it is. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { constants } from '@zerocopy/core-syscalls';
import { fixture, kernelTest } from './harness.js';

kernelTest('a proxy asks at most six questions before its first byte, and none twice', async (t) => {
  const { stdout } = await promisify(execFile)(process.execPath, [fixture('asked')]);
  const calls = JSON.parse(stdout) as string[];
  const first = calls.findIndex((call) => /^(write|splice|send)/.test(call));
  t.true(first >= 0, stdout);
  const before = calls.slice(0, first).filter((call) => !call.startsWith('read('));
  t.true(before.length <= 6, before.join(' '));
  const counts = (call: string): number => before.filter((one) => one.startsWith(call)).length;
  t.is(counts('getsockopt('), 2);
  t.is(counts(`fcntl(${constants.F_GETFL},`), 2);
});
