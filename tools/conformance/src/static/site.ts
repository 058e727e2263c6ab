/** The directory that every server is asked to serve. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

export const SECRET = 'SECRET of another directory';
/** Seconds. */
export const MODIFIED = 1_000_000_000;

export interface TestSite {
  readonly root: string;
  /** Its parent, where nothing is to be served from. */
  readonly base: string;
  remove(): void;
}

/** Bytes in which every position can be told from its neighbours. */
export function pattern(length: number): Buffer {
  const buffer = Buffer.alloc(length);
  for (let at = 0; at < length; at++) buffer[at] = (at * 31 + (at >>> 8) * 17 + (at >>> 16) * 7) & 0xff;
  return buffer;
}

export const THOUSAND: Buffer = pattern(1000);

export function makeSite(): TestSite {
  const base = mkdtempSync(join(tmpdir(), 'zerocopy-static-'));
  const root = join(base, 'root');
  const files: Readonly<Record<string, string | Buffer>> = {
    'a.txt': '0123456789',
    thousand: THOUSAND,
    empty: '',
    'big.bin': pattern(4 * 1024 * 1024),
    'index.html': 'home',
    'with space.txt': 'space',
    'a#b.txt': 'hash',
    '100%.txt': 'percent',
    'é.txt': 'accent',
    'dir/index.html': 'dir',
    '.env': SECRET,
    '.well-known/security.txt': 'well known',
    'app.js': 'app',
    'app.js.br': 'app br',
    'app.js.gz': 'app gz',
    'archive.tar.gz': 'archive',
    'data.json': '{}',
    'image.svg': '<svg/>',
    'unknown.zzz': 'x',
    'evil.com/index.html': 'x',
    '../secret.txt': SECRET,
  };
  for (const [path, content] of Object.entries(files)) {
    const file = join(root, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content);
  }
  utimesSync(join(root, 'thousand'), MODIFIED, MODIFIED);
  symlinkSync('../secret.txt', join(root, 'outside.txt'));
  symlinkSync('a.txt', join(root, 'inside.txt'));
  execFileSync('mkfifo', [join(root, 'fifo')]);
  return { root, base, remove: () => rmSync(base, { recursive: true, force: true }) };
}
