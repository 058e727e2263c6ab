/**
 * A child that runs out of descriptors in the midst of each transfer, really: `hungry.js [STRIDE]`. The soft limit is set to what
 * is open, and a few more, as soon as a transfer has begun, or moves; and lifted when it is over. Prints, as JSON, what
 * went wrong.
 */
import { closeSync, existsSync, mkdirSync, openSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { probe } from '@zerocopy/core-syscalls';
import { copyFile } from '@zerocopy/file-copy';
import { mapFile, SharedBufferPool } from '@zerocopy/mmap-buffer';
import { sendFile } from '@zerocopy/sendfile-stream';
import { splice } from '@zerocopy/splice-pipe';
import { makeFile, temporaryDirectory } from '@zerocopy/testing/files';
import koffi from 'koffi';
import { openDescriptors } from '../holdings.js';
import { allWays, whyNot } from '../ways/index.js';
import { beginHeld, comesTrue } from './theft.js';

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

const directory = temporaryDirectory(undefined, 'hungry');
const complaints: string[] = [];
let failed = 0;
let whole = 0;
const CLEAR = new Set(['EMFILE', 'ERR_WORKER_INIT_FAILED']);
probe();

/** Every so manieth way, as the argument says; default: each. Those with victims move as long as they are wanted to. */
const stride = Number(process.argv[2] ?? 1);
const ways = allWays.filter((way) => (way.victims ?? []).length > 0 && whyNot(way) === undefined);
for (const [index, way] of ways.entries()) {
  if (index % stride !== 0) continue;
  for (const moment of ['at once', 'moving'] as const) {
    const own = join(directory, `${index} ${moment}`);
    mkdirSync(own);
    const before = openDescriptors();
    const { stage, told, moving, complaint } = await beginHeld(way, own);
    if (moment === 'moving') await comesTrue(moving);
    leave(index % 4);
    stage.goOn();
    // What has no promise is only looked at for a while: a stream that nobody ends has no end.
    let looks = 0;
    const over = await comesTrue(() => told() !== undefined || (way.promised !== true && looks++ > 20));
    lift();
    const what = `${way.name}, ${moment}`;
    const { code, message } = told()?.find(({ error }) => error !== undefined)?.error ?? {};
    if (!over) complaints.push(`${what}: it does not end`);
    else if (told() !== undefined && way.promised === true) {
      if (message === undefined) {
        whole++;
        await comesTrue(() => complaint(true) === undefined);
        const short = complaint(true);
        if (short !== undefined) complaints.push(`${what}: ${short}`);
      } else {
        failed++;
        if (!CLEAR.has(code ?? '')) complaints.push(`${what}: ${code} ${message}`);
      }
    }
    const wrong = complaint();
    if (wrong !== undefined) complaints.push(`${what}: ${wrong}`);
    for (const victim of way.victims ?? []) stage.take(victim); // what was lent is the user's to close
    await comesTrue(() => told() !== undefined);
    await stage.dispose();
    if (!(await comesTrue(() => openDescriptors() <= before))) {
      complaints.push(`${what}: ${openDescriptors() - before} descriptors have not been closed`);
    }
  }
}

// With none left, each begins by saying so.
const source = makeFile(directory, 'bytes');
const [from, to] = [openSync(source, 'r'), openSync(join(directory, 'target'), 'w')];
const attempts: Readonly<Record<string, () => Promise<unknown>>> = {
  'sendFile to a number': () => sendFile(to, source),
  'sendFile from a number': () => sendFile(to, from),
  'splice from a number': () => splice(from, to),
  copyFile: () => copyFile(source, join(directory, 'copy')),
  mapFile: () => mapFile(source),
  SharedBufferPool: async () => new SharedBufferPool({ bufferSize: 1, count: 1 }),
};
const before = openDescriptors();
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
  if (!(await comesTrue(() => openDescriptors() <= before))) complaints.push(`${name} has left descriptors open`);
}
closeSync(from);
closeSync(to);
console.log(JSON.stringify({ complaints, failed, whole } satisfies HungryReport));
