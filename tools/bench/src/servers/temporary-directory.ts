/** Directories that are gone when they have been removed, or when the process ends, also by Ctrl-C. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const made = new Set<string>();
process.once('exit', () => made.forEach(removeDirectory));

export function makeDirectory(name: string, parent: string = tmpdir()): string {
  const directory = mkdtempSync(join(parent, `zerocopy-${name}-`));
  made.add(directory);
  return directory;
}

export function removeDirectory(directory: string): void {
  made.delete(directory);
  rmSync(directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 20 }); // a server may be writing into it
}
