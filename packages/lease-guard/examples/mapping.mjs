import { closeSync, openSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { check, constants, syscalls } from '@zerocopy/core-syscalls';
import { guardMapping, readChecked } from '@zerocopy/lease-guard';

const file = process.argv[2] ?? 'scratch.bin';
writeFileSync(file, Buffer.alloc(65536)); // a file to be lost
const fd = openSync(file, 'r');
const { size } = statSync(file);
const address = check(syscalls.mmap(null, size, constants.PROT_READ, constants.MAP_SHARED, fd, 0), 'mmap');

const guard = guardMapping(address, size, { file: { fd, offset: 0 } });
truncateSync(file, 0); // what would kill the process, and now does not
try {
  readChecked(address, 0, 16);
} catch (error) {
  console.log(`an error instead of a signal: ${error.code}`);
}
console.log(`truncated: ${guard.truncated}`); // true once a load of the page itself has been answered with zeros
guard.release();
closeSync(fd);
check(syscalls.munmap(address, size), 'munmap');
