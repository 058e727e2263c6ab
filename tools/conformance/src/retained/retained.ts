/** Whether a server keeps something of each response that it has sent: V8's heap, after whole collections, as it goes on. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Subject } from '../asking.js';

/** How often the heap is looked at. */
export const MARKS = 10;

export const WAY_NAMES = [
  'sendFile',
  "createSendfileStream by Node's pipeline",
  'createSendfileStream by pipeline',
  'createSendfileStream by pipe',
  'fs.createReadStream by pipeline',
] as const;

export type WayName = (typeof WAY_NAMES)[number];

export interface Task {
  readonly way: WayName;
  /** A multiple of {@link MARKS}. */
  readonly responses: number;
  /** Bytes of the file. */
  readonly length: number;
}

/**
 * @returns bytes of the heap that each response has left behind, by a straight line through the second half of the marks:
 * before, code is still being compiled.
 */
export async function retainedBy(task: Task): Promise<number> {
  const module = fileURLToPath(new URL('./retained.child.js', import.meta.url));
  const subject = new Subject(`the server of ${task.way}`, fork(module, [JSON.stringify(task)]));
  try {
    const heaps = await Promise.race([
      once(subject, 'heaps').then(([given]) => given as number[]),
      once(subject, 'ended').then(([error]) => {
        throw error;
      }),
    ]);
    return slopeOf(heaps.slice(MARKS / 2)) / (task.responses / MARKS);
  } finally {
    await subject.kill();
  }
}

/** Of the line of least squares through values that are one apart. */
export function slopeOf(values: readonly number[]): number {
  const middle = (values.length - 1) / 2;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  let [above, below] = [0, 0];
  for (const [at, value] of values.entries()) {
    above += (at - middle) * (value - mean);
    below += (at - middle) ** 2;
  }
  return above / below;
}
