/** The shared harness, and what is this package's own of it. */
import { readFileSync } from 'node:fs';
import { feature, probePath } from '@zerocopy/core-syscalls';
import { makeFile, temporaryDirectory } from '@zerocopy/testing/files';
import { type Availability, testsWhere } from '@zerocopy/testing/kernel-tests';
import { type Ended, fixturesBeside, runProgram } from '@zerocopy/testing/programs';

export { makeFile, temporaryDirectory } from '@zerocopy/testing/files';
export { openDescriptors, threads } from '@zerocopy/testing/holdings';
export { type Ended, runProgram } from '@zerocopy/testing/programs';
export { until } from '@zerocopy/testing/waiting';

/** How long the kernel waits for the holder of a lease, in milliseconds; 0: for ever. */
export const breakTime = Number(readFileSync('/proc/sys/fs/lease-break-time', 'utf8')) * 1000;

const longEnough: Availability = {
  available: breakTime >= 5000,
  reason: `they need /proc/sys/fs/lease-break-time of 5 s or more, and it is ${breakTime / 1000}`,
};
const lease: Availability = feature('lease');
const here: Availability = lease.available ? probePath(makeFile(temporaryDirectory())).lease : lease;
const trap: Availability = feature('sigbusTrap');

/** For tests that take leases. */
export const { test: leaseTest, serial: leaseSerial } = testsWhere('leases', lease, longEnough, here);
export const { test: trapTest, serial: trapSerial } = testsWhere('the SIGBUS trap', trap);
export const { test: leaseAndTrapTest } = testsWhere('leases and the SIGBUS trap', lease, longEnough, here, trap);

/** Another process that runs `code` with `fs` at hand, and prints how long the last line of it took. */
export const elsewhere = (code: string): Promise<Ended> =>
  runProgram(process.execPath, [
    '-e',
    `const fs = require('node:fs'); const startedAt = performance.now();
     try { ${code}; console.log(\`done \${Math.round(performance.now() - startedAt)}\`); }
     catch (error) { console.log(\`\${error.code} \${Math.round(performance.now() - startedAt)}\`); }`,
  ]);

export const openForWriting = (path: string): Promise<Ended> => elsewhere(`fs.openSync(${JSON.stringify(path)}, 'r+')`);

export const fixture: (name: string) => string = fixturesBeside(import.meta.url);
