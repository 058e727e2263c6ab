/** The files that programs serve. Each program writes into a directory below `out`. */
import { mkdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { content, FILES } from './program.js';

/** The same time for all, so that entity tags and Last-Modified are the same in two processes. */
const MODIFIED = new Date('2026-01-02T03:04:05Z');

/** Writes them into `directory`. */
export function writeSite(directory: string): void {
  mkdirSync(join(directory, 'out'), { recursive: true });
  for (const name of Object.keys(FILES)) {
    const path = join(directory, name);
    writeFileSync(path, content(name));
    utimesSync(path, MODIFIED, MODIFIED);
  }
}
