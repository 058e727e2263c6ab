/**
 * Descriptors that are kept open for speed alone, and given up as soon as the process, or the system, has no other left.
 */
import { constants } from '../constants.js';

const { EMFILE, ENFILE } = constants;

/** Something that keeps descriptors it could do without. */
export interface SpareDescriptors {
  /** Closes them. @returns how many. */
  freeDescriptors(): number;
}

/** Not kept alive by being here: the code that uses one holds it. */
const holders = new Set<WeakRef<SpareDescriptors>>();

/** Makes `holder` known, for as long as it lives. */
export function addSpareDescriptors(holder: SpareDescriptors): void {
  for (const known of holders) if (known.deref() === undefined) holders.delete(known);
  holders.add(new WeakRef(holder));
}

/** Makes a call that makes a descriptor; once more, if it has failed for want of them and some could be closed. */
export function withSpareDescriptors(call: () => number): number {
  const result = call();
  return result < 0 && freeSpareDescriptors(result) ? call() : result;
}

/**
 * To be asked after a call that makes a descriptor has failed.
 * @param error its negative errno, or the error of node:fs.
 * @returns whether it has failed for want of descriptors, and some have been closed: then it is to be made once more.
 */
export function freeSpareDescriptors(error: unknown): boolean {
  const code = (error as { code?: unknown } | null | undefined)?.code;
  const isShort = error === -EMFILE || error === -ENFILE || code === 'EMFILE' || code === 'ENFILE';
  if (!isShort) return false;
  let freed = 0;
  for (const holder of holders) freed += holder.deref()?.freeDescriptors() ?? 0;
  return freed > 0;
}
