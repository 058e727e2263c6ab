/** The packages as a user gets them: packed, and installed from their tarballs into a folder that knows nothing of here. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readManifest } from './manifest.mjs';
import { root } from './repository-text.mjs';

/** The published packages' folders, by name. */
export function packageFolders(within = root) {
  const folders = readdirSync(join(within, 'packages')).map((name) => join(within, 'packages', name));
  return new Map(folders.map((folder) => [readManifest(folder).name, folder]));
}

/** A folder in the temporary directory, removed when this process ends. */
export function temporaryFolder(name) {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), `zerocopy-${name}-`)));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Packs all packages of the repository at `within`. @returns tarballs by the name of the package. */
export function packAll(folder, within = root) {
  mkdirSync(folder, { recursive: true });
  const tarballs = new Map();
  for (const [name, from] of packageFolders(within)) {
    const packed = execFileSync('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', folder], {
      cwd: from,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    tarballs.set(name, join(folder, JSON.parse(packed)[0].filename));
  }
  return tarballs;
}

/** `npm install` in `folder`: packages by name and version, or by their tarballs. */
export function npmInstall(folder, packages) {
  execFileSync('npm', ['install', '--no-audit', '--no-fund', '--loglevel=error', ...packages], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

/**
 * A new folder in which all packages are installed from their tarballs.
 * @param more further packages, by name and version.
 */
export function installedFolder(name, more = []) {
  const folder = temporaryFolder(name);
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify({ name: 'app', private: true, version: '1.0.0' })}\n`);
  const tarballs = packAll(join(folder, 'tarballs'));
  npmInstall(folder, [...tarballs.values(), ...more]);
  return folder;
}
