/** What a file must be for the kernel to send it, asked of the open descriptor without waiting for a disk or a server. */
import { type FileFacts, factsOf, filesystemOf, isRegularFile } from '@zerocopy/core-syscalls/descriptors';

export type SourceFacts =
  | {
      readonly sendable: true;
      /** Bytes. */
      readonly size: number;
      /** Whether its bytes are in memory by nature: see {@link livesInMemory}. */
      readonly inMemory: boolean;
    }
  | { readonly sendable: false; readonly reason: string };

/** Whether the file's bytes are in memory by nature, so that reading them never waits. */
export function livesInMemory(fd: number): boolean {
  return filesystemOf(fd).kind === 'memory';
}

/**
 * Whether sendfile may be tried on `fd` and its size believed.
 * @param known its facts, where they have been asked already.
 */
export function inspectSource(fd: number, known?: FileFacts): SourceFacts {
  let facts: FileFacts;
  try {
    facts = known ?? factsOf(fd);
  } catch (error) {
    // The caller reads it by Node then, and gets Node's error.
    return { sendable: false, reason: `the file cannot be examined (${(error as NodeJS.ErrnoException).code})` };
  }
  const { size, blocks, filesystem } = facts;
  if (!isRegularFile(facts)) return { sendable: false, reason: 'the source is not a regular file' };
  if (size === 0) return { sendable: false, reason: 'the file is empty, or its size is not known' };
  // Filesystems that invent sizes give their files no blocks (kernel-rules: st-size-lies); neither have holes any.
  if (blocks === 0 && filesystem.kind === 'pseudo') {
    return { sendable: false, reason: `the size of a file on ${filesystem.name} cannot be trusted` };
  }
  return { sendable: true, size, inMemory: filesystem.kind === 'memory' };
}
