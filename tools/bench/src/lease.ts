/** `npm run bench:lease`: what leases and guards cost. */
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { check, constants, syscalls } from '@zerocopy/core-syscalls';
import { memoryAt } from '@zerocopy/core-syscalls/internals';
import { acquireLease, guardMapping, installSigbusTrap } from '@zerocopy/lease-guard';
import CliTable from 'cli-table3';
import { median, quantile } from 'simple-statistics';

const ROUNDS = 500;
const directory = mkdtempSync(join(tmpdir(), 'zerocopy-lease-bench-'));
const path = join(directory, 'file');
const page = syscalls.getpagesize();
writeFileSync(path, Buffer.alloc(page));

const table = new CliTable({ head: ['', 'median, µs', 'p99, µs'], style: { head: [], border: [] } });

function report(what: string, milliseconds: number[]): void {
  const microseconds = milliseconds.map((one) => one * 1000);
  table.push([what, median(microseconds).toFixed(1), quantile(microseconds, 0.99).toFixed(1)]);
}

async function sampled(what: string, once: () => number | Promise<number>): Promise<void> {
  for (let n = 0; n < ROUNDS / 5; n++) await once();
  const samples: number[] = [];
  for (let n = 0; n < ROUNDS; n++) samples.push(await once());
  report(what, samples);
}

try {
  const keepsTheThread = join(directory, 'other');
  writeFileSync(keepsTheThread, '');
  const first = await acquireLease(keepsTheThread, 'read');

  await sampled('acquire and release a lease, by path', async () => {
    const startedAt = performance.now();
    const lease = await acquireLease(path, 'read');
    await lease.release();
    return performance.now() - startedAt;
  });

  const fd = openSync(path, 'r');
  await sampled('acquire and release a lease, by descriptor', async () => {
    const startedAt = performance.now();
    const lease = await acquireLease(fd, 'read');
    await lease.release();
    return performance.now() - startedAt;
  });

  await sampled('a break, until the other side has the file open (nobody listens)', async () => {
    const lease = await acquireLease(fd, 'read');
    const startedAt = performance.now();
    closeSync(openSync(path, 'r+'));
    const elapsed = performance.now() - startedAt;
    await lease.release();
    return elapsed;
  });
  closeSync(fd);

  const mapped = openSync(path, 'r+');
  const { MAP_SHARED, PROT_READ } = constants;
  const address = check(syscalls.mmap(null, page, PROT_READ, MAP_SHARED, mapped, 0), 'mmap');
  const bytes = Buffer.from(memoryAt(address, page));
  await sampled('guardMapping and release', () => {
    const startedAt = performance.now();
    guardMapping(address, page).release();
    return performance.now() - startedAt;
  });
  await sampled('installSigbusTrap, installed already', () => {
    const startedAt = performance.now();
    installSigbusTrap();
    return performance.now() - startedAt;
  });

  let touched = 0;
  await sampled('a trap: a load from a page that is gone', () => {
    // MAP_FIXED: the file's page again, in the place of what the last trap has left.
    ftruncateSync(mapped, page);
    check(syscalls.mmap(address, page, PROT_READ, MAP_SHARED | constants.MAP_FIXED, mapped, 0), 'mmap');
    const guard = guardMapping(address, page);
    ftruncateSync(mapped, 0);
    const startedAt = performance.now();
    touched += bytes[0] as number;
    const elapsed = performance.now() - startedAt;
    if (guard.trapCount !== 1) throw new Error('there was no trap');
    guard.release();
    return elapsed;
  });
  closeSync(mapped);
  await first.release();
  console.log(table.toString());
  console.log(`${ROUNDS} times each, after ${ROUNDS / 5} that do not count.${touched === 0 ? '' : ' ?'}`);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
