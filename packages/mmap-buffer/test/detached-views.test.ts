/** An ArrayBuffer over a mapping can be detached; its memory then belongs to one that nobody here has made. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fixture, mapTest, runProgram, temporaryDirectory } from './harness.js';

const directory = temporaryDirectory();
const MiB = 1024 * 1024;
const S = 's'.charCodeAt(0);

interface Told {
  readonly seen: [number, number, number][];
  readonly sum: number;
  readonly before: number;
  readonly after: { regions: number; lingering: number; bytes: number };
  readonly areas: number;
}

async function run(how: string): Promise<Told> {
  const work = join(directory, how);
  mkdirSync(work);
  const { status, stdout, stderr } = await runProgram(process.execPath, [
    '--expose-gc',
    fixture('detached'),
    work,
    how,
  ]);
  if (status !== 0) throw new Error(`ended with ${status}: ${stderr}`);
  return JSON.parse(stdout) as Told;
}

mapTest(
  'zeros after close, the bytes before, for as long as a chunk is kept (kernel-rules: detached-views)',
  async (t) => {
    const { seen, sum, before, after, areas } = await run('tracked');
    const closed = [MiB, 0, 0];
    t.deepEqual(seen, [closed, closed, closed, [MiB, S, S], [MiB, S, S]]);
    t.is(sum, 40 * 'x'.charCodeAt(0));
    t.true(before >= 5);
    t.deepEqual(after, { regions: 0, lingering: 0, bytes: 0 }, 'and then all of it goes back');
    t.is(areas, 0);
  },
);

mapTest('where no finalizer can be had: what was looked at is never given to another mapping', async (t) => {
  const { seen, sum } = await run('untracked');
  const closed = [MiB, 0, 0];
  t.deepEqual(seen.slice(0, 3), [closed, closed, closed]);
  t.deepEqual(seen[3], closed, 'forgotten is as good as closed');
  t.deepEqual(seen[4], [MiB, S, S], 'a stream copies instead');
  t.is(sum, 40 * 'x'.charCodeAt(0));
});
