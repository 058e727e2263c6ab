/** Takes leases and guards mappings: what each operation costs. */
import { closeSync, ftruncateSync, openSync, writeFileSync } from 'node:fs';
import { check, constants, syscalls } from '@zerocopy/core-syscalls';
import { memoryAt } from '@zerocopy/core-syscalls/native';
import { acquireLease, guardMapping, installSigbusTrap } from '@zerocopy/lease-guard';
import { median, quantile } from 'simple-statistics';
import { answerReports, answerTasks, tell } from './reporting.js';

const [path = ''] = process.argv.slice(2);
const page = syscalls.getpagesize();
// A read lease is refused while the file is open for writing, so what is mapped is another.
const mapped = `${path}-mapped`;
for (const file of [path, mapped]) writeFileSync(file, Buffer.alloc(page));
writeFileSync(`${path}-other`, '');
// Keeps the thread that listens for broken leases.
const first = await acquireLease(`${path}-other`, 'read');
process.once('exit', () => first.release());
const fd = openSync(path, 'r');
const writable = openSync(mapped, 'r+');
const { MAP_SHARED, PROT_READ } = constants;
const address = check(syscalls.mmap(null, page, PROT_READ, MAP_SHARED, writable, 0), 'mmap');
const bytes = Buffer.from(memoryAt(address, page));

/** Microseconds of the part of `once` that it times itself. */
async function sampled(rounds: number, once: () => number | Promise<number>): Promise<Record<string, number>> {
  const samples: number[] = [];
  for (let n = 0; n < rounds; n++) samples.push((await once()) * 1000);
  return { median: median(samples), p99: quantile(samples, 0.99) };
}

const timed = (work: () => void): number => {
  const startedAt = performance.now();
  work();
  return performance.now() - startedAt;
};

async function lease(of: string | number): Promise<number> {
  const startedAt = performance.now();
  await (await acquireLease(of, 'read')).release();
  return performance.now() - startedAt;
}

answerReports(() => ({ method: 'lease' }));
answerTasks({
  path: (rounds) => sampled(rounds as number, () => lease(path)),
  descriptor: (rounds) => sampled(rounds as number, () => lease(fd)),
  break: (rounds) =>
    sampled(rounds as number, async () => {
      const held = await acquireLease(fd, 'read');
      const elapsed = timed(() => closeSync(openSync(path, 'r+')));
      await held.release();
      return elapsed;
    }),
  guard: (rounds) => sampled(rounds as number, () => timed(() => guardMapping(address, page).release())),
  install: (rounds) => sampled(rounds as number, () => timed(() => installSigbusTrap())),
  trap: (rounds) =>
    sampled(rounds as number, () => {
      // MAP_FIXED: the file's page again, in the place of what the last trap has left.
      ftruncateSync(writable, page);
      check(syscalls.mmap(address, page, PROT_READ, MAP_SHARED | constants.MAP_FIXED, writable, 0), 'mmap');
      const guard = guardMapping(address, page);
      ftruncateSync(writable, 0);
      let touched = 1;
      const elapsed = timed(() => {
        touched = bytes[0] as number;
      });
      if (guard.trapCount !== 1 || touched !== 0) throw new Error('there was no trap');
      guard.release();
      return elapsed;
    }),
});
tell({ port: 0 });
