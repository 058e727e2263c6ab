/** A TCP proxy of idle connections, with the hook and without: what a pair holds at first, and after `--minutes N`. */
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import type { HeldByPair, IdlePairs } from '@zerocopy/testing/idle-pairs.child';
import { runProgram } from '@zerocopy/testing/programs';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '60' },
    pairs: { type: 'string', default: '1000' },
  },
});
const register = pathToFileURL(createRequire(import.meta.url).resolve('@zerocopy/pipeline/register')).href;
const idlePairs = fileURLToPath(import.meta.resolve('@zerocopy/testing/idle-pairs.child'));

/** What a pair holds beyond Node's own, at most: bytes of heap. One that has passed on much keeps a dictionary of properties. */
const HEAP_MAX = { 'a little': 1024, much: 10 * 1024 } as const;
/** What is compiled, or made, once for the process. */
const ONCE = 150_000;

async function report(args: readonly string[], bytes: number): Promise<Required<IdlePairs>> {
  const { status, stdout, stderr } = await runProgram(process.execPath, [
    ...args,
    idlePairs,
    values.pairs,
    String(bytes),
    values.minutes,
  ]);
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Required<IdlePairs>;
}

async function compared(what: keyof typeof HEAP_MAX, bytes: number): Promise<void> {
  const [node, ours] = await Promise.all([report([], bytes), report(['--import', register], bytes)]);
  const most = HEAP_MAX[what] + ONCE / Number(values.pairs);
  const rows: readonly (readonly [string, HeldByPair, HeldByPair])[] = [
    ['at first', node, ours],
    [`after ${values.minutes} minutes`, node.later, ours.later],
  ];
  for (const [when, without, withHook] of rows) {
    const heap = withHook.heap - without.heap;
    const descriptors = Number((withHook.descriptors - without.descriptors).toFixed(3));
    const isRight = heap <= most && descriptors <= 0;
    if (!isRight) process.exitCode = 1;
    console.log(
      `${isRight ? '✔' : '✖'} ${values.pairs} pairs that have passed on ${what}, ${when}: ${Math.round(without.heap)} bytes of heap with Node, ${Math.round(heap)} more; ${descriptors} descriptors more`,
    );
  }
}

await Promise.all([compared('a little', 0), compared('much', 2 * 1024 * 1024)]);
