/** What this process holds, counted from /proc: compared before and after something that must leave nothing behind. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { turn } from './waiting.js';

/** The descriptor that lists them is among them. */
export const openDescriptors = (): number => readdirSync('/proc/self/fd').length;

/** What the descriptors stand for, such as a path or `socket:[1]`. That of the listing itself is left out. */
export function descriptorTargets(): ReadonlyMap<number, string> {
  const targets = new Map<number, string>();
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      targets.set(Number(name), readlinkSync(`/proc/self/fd/${name}`));
    } catch {} // the listing's own, closed since
  }
  return targets;
}

export const threads = (): number => readdirSync('/proc/self/task').length;

/** Areas of the address space, or those whose line in /proc/self/maps matches. */
export const mappedAreas = (what?: RegExp): number =>
  readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => what === undefined || what.test(line)).length;

let gc: (() => void) | undefined = (globalThis as { gc?: () => void }).gc;

/** V8's collector, whether or not the process was started with --expose-gc. */
function collector(): () => void {
  if (gc === undefined) {
    setFlagsFromString('--expose-gc');
    gc = runInNewContext('gc') as () => void;
  }
  return gc;
}

/** Collects garbage and runs finalizers, until `done` says so, at most so many times. */
export async function collectGarbage(done: () => boolean = () => false, rounds = 5): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    collector()();
    await turn();
    if (done()) return;
    await turn(); // what `done` has looked at by a WeakRef is kept until then
  }
}

/** Milliseconds for which what is closed on the thread pool may still be open. */
const CLOSING_PATIENCE = 2000;

/** Resolves when `isClosed` says so, or what is closed on the thread pool has had the time for it. */
export async function closing(isClosed: () => boolean): Promise<void> {
  const deadline = performance.now() + CLOSING_PATIENCE;
  while (!isClosed() && performance.now() < deadline) await turn();
}
