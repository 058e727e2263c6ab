/** Whether closing an open file may make this thread wait. */
import { type FileFacts, factsOf, isPollable } from './file-facts.js';
import { isLocalFilesystem } from './filesystem.js';

/**
 * Whether close(2) cannot wait: neither for a server that is to be told (kernel-rules: open-may-wait), nor for a disk,
 * to free the blocks of a file that has no name any more. True also if `fd` is not open.
 * @param known its facts, where they have been asked in this turn of the event loop.
 */
export function closesAtOnce(fd: number, known?: FileFacts): boolean {
  let facts: FileFacts;
  try {
    facts = known ?? factsOf(fd);
  } catch {
    return true;
  }
  if (isPollable(facts)) return true;
  const { kind } = facts.filesystem;
  return isLocalFilesystem(facts.filesystem) && (facts.links > 0 || kind !== 'local');
}
