/** Each socket is asked once what it is. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { constants } from '@zerocopy/core-syscalls';
import { fixture, kernelTest } from './harness.js';

kernelTest('a proxy asks of each socket one question before it carries much', async (t) => {
  const { stdout } = await promisify(execFile)(process.execPath, [fixture('asked')]);
  t.deepEqual(JSON.parse(stdout), Array(2).fill(`fcntl(${constants.F_GETFL}, 0)`));
});
