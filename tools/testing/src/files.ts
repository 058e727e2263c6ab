/** Temporary directories, and files in them. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const directories = new Set<string>();

/** A new directory, which is removed with all that is in it when the process or the worker thread ends. */
export function temporaryDirectory(parent: string = tmpdir(), name = 'test'): string {
  // A hook of ava's would not do: ava runs none in a file of which every test is skipped.
  if (directories.size === 0) process.once('exit', removeAll);
  const directory = mkdtempSync(join(parent, `zerocopy-${name}-`));
  directories.add(directory);
  return directory;
}

/** Removes one of them now. */
export function removeDirectory(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
  directories.delete(directory);
  if (directories.size === 0) process.off('exit', removeAll);
}

function removeAll(): void {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
}

let files = 0;

/** The path of a file that does not exist yet. */
export const fresh = (directory: string): string => join(directory, `file-${files++}`);

/** A file of its own for every call. Returns its path. */
export const makeFile = (directory: string, content: string | Uint8Array = 'content'): string =>
  writeFile(fresh(directory), content);

/** Returns the path. */
export function writeFile(path: string, content: string | Uint8Array): string {
  writeFileSync(path, content);
  return path;
}
