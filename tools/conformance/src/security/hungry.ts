/**
 * A child that runs out of descriptors in the midst of each transfer, really: `hungry.js [STRIDE]`. The soft limit is set to what
 * is open, and a few more, as soon as a transfer has begun, or moves; and lifted when it is over. Prints, as JSON, what
 * went wrong.
 */
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { probe } from '@zerocopy/core-syscalls';
import { copyFile } from '@zerocopy/file-copy';
import { mapFile, SharedBufferPool } from '@zerocopy/mmap-buffer';
import { sendFile } from '@zerocopy/sendfile-stream';
import { splice } from '@zerocopy/splice-pipe';
import koffi from 'koffi';
import { descriptors, until } from './theft.js';
import { allThefts } from './thefts.js';

const RLIMIT_NOFILE = 7;
const library = koffi.load(null);
const getrlimit = library.func('int getrlimit(int resource, void *limits)');
const setrlimit = library.func('int setrlimit(int resource, void *limits)');
const limits = new BigUint64Array(2);
getrlimit(RLIMIT_NOFILE, limits);
const [soft, hard] = limits as unknown as [bigint, bigint];

/** How many numbers a process may have open is how high they may be. */
function leave(numbers: number): void {
  const open = new Set(
    readdirSync('/proc/self/fd')
      .filter((fd) => existsSync(`/proc/self/fdinfo/${fd}`)) // that of the listing itself is gone
      .map(Number),
  );
  let limit = 0;
  for (let free = -1; free < numbers; limit++) if (!open.has(limit)) free++;
  setrlimit(RLIMIT_NOFILE, BigUint64Array.of(BigInt(limit - 1), hard));
}

const lift = (): void => void setrlimit(RLIMIT_NOFILE, BigUint64Array.of(soft, hard));

export interface HungryReport {
  readonly complaints: readonly string[];
  /** Transfers that have failed for want of descriptors, and those that have gone on without. */
  readonly failed: number;
  readonly whole: number;
}

const directory = mkdtempSync(join(tmpdir(), 'zerocopy-hungry-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
const complaints: string[] = [];
let failed = 0;
let whole = 0;
const CLEAR = new Set(['EMFILE', 'ERR_WORKER_INIT_FAILED']);
probe();

/** Every so manieth transfer, as the argument says; default: each. */
const stride = Number(process.argv[2] ?? 1);
for (const [index, theft] of allThefts.entries()) {
  if (theft.skipped !== undefined || theft.name.startsWith('a lease') || index % stride !== 0) continue;
  for (const moment of ['at once', 'moving'] as const) {
    const own = join(directory, `${index} ${moment}`);
    mkdirSync(own);
    const before = descriptors();
    const mark = await theft.begin(own);
    if (moment === 'moving') await until(() => mark.moving());
    leave(index % 4);
    mark.goOn();
    let outcome: { readonly error: unknown } | undefined;
    mark.over.then((error) => {
      outcome = { error };
    });
    const promised = /^(sendFile|splice from|copyFile)/.test(theft.name) && !/destroyed/.test(theft.name);
    // What has no promise is only looked at for a while: a stream that nobody ends has no end.
    let looks = 0;
    const over = await until(() => outcome !== undefined || (!promised && looks++ > 20));
    lift();
    const told = `${theft.name}, ${moment}`;
    const { code, message } = (outcome?.error ?? {}) as NodeJS.ErrnoException;
    if (!over) complaints.push(`${told}: it does not end`);
    else if (outcome !== undefined && promised) {
      if (outcome.error === undefined) {
        whole++;
        await until(() => mark.complaint(true) === undefined);
        const complaint = mark.complaint(true);
        if (complaint !== undefined) complaints.push(`${told}: ${complaint}`);
      } else {
        failed++;
        if (!CLEAR.has(code ?? '')) complaints.push(`${told}: ${code} ${message}`);
      }
    }
    if (mark.complaint() !== undefined) complaints.push(`${told}: ${mark.complaint()}`);
    mark.steal(); // what was lent is the caller's to close
    await mark.over;
    await mark.dispose();
    if (!(await until(() => descriptors() <= before))) {
      complaints.push(`${told}: ${descriptors() - before} descriptors have not been closed`);
    }
  }
}

// With none left, each begins by saying so.
const source = join(directory, 'source');
writeFileSync(source, 'bytes');
const [from, to] = [openSync(source, 'r'), openSync(join(directory, 'target'), 'w')];
const attempts: Readonly<Record<string, () => Promise<unknown>>> = {
  'sendFile to a number': () => sendFile(to, source),
  'sendFile from a number': () => sendFile(to, from),
  'splice from a number': () => splice(from, to),
  copyFile: () => copyFile(source, join(directory, 'copy')),
  mapFile: () => mapFile(source),
  SharedBufferPool: async () => new SharedBufferPool({ bufferSize: 1, count: 1 }),
};
const before = descriptors();
for (const [name, attempt] of Object.entries(attempts)) {
  let code: unknown;
  // Again, if something that was lingering has just been closed, and there was one after all.
  for (let tries = 0; code !== 'EMFILE' && tries < 100; tries++) {
    leave(0);
    code = await attempt().then(
      (made) => (made as { close?(): unknown }).close?.(),
      (error: unknown) => (error as NodeJS.ErrnoException).code,
    );
    lift();
  }
  if (code !== 'EMFILE') complaints.push(`${name}: ${code} instead of EMFILE`);
  if (!(await until(() => descriptors() <= before))) complaints.push(`${name} has left descriptors open`);
}
closeSync(from);
closeSync(to);
console.log(JSON.stringify({ complaints, failed, whole } satisfies HungryReport));
