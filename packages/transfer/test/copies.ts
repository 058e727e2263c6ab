/** Further copies of this package, as a dependency tree with two versions of it holds them. */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const packages = fileURLToPath(new URL('../..', import.meta.url));

/** A copy in a directory of its own. */
export interface Copy {
  /** The URL of transfer's entry. */
  readonly transfer: string;
  /** The URL of core-syscalls' entry. */
  readonly core: string;
  /** Removes the directory. */
  remove(): void;
}

/**
 * Copies transfer and core-syscalls, each with its dist; koffi beside them is the same one, or a copy that is loaded
 * again.
 */
export function copyOfTransfer(koffi: 'linked' | 'copied'): Copy {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'zerocopy-copy-')));
  const modules = join(directory, 'node_modules');
  const entry = (name: string): string => join(modules, '@zerocopy', name);
  for (const name of ['core-syscalls', 'transfer']) {
    for (const part of ['dist', 'package.json']) {
      cpSync(join(packages, name, part), join(entry(name), part), { recursive: true });
    }
  }
  const installed = dirname(createRequire(join(packages, 'core-syscalls', 'package.json')).resolve('koffi'));
  if (koffi === 'linked') symlinkSync(installed, join(modules, 'koffi'));
  else {
    // Its binary for this platform is a package of its own, beside it.
    const scope = join(dirname(installed), '@koromix');
    const parts = readdirSync(scope).filter((name) => name.startsWith('koffi-'));
    mkdirSync(join(modules, '@koromix'));
    for (const part of parts) cpSync(join(scope, part), join(modules, '@koromix', part), { recursive: true });
    cpSync(installed, join(modules, 'koffi'), { recursive: true });
  }
  const url = (name: string): string => pathToFileURL(join(entry(name), 'dist', 'index.js')).href;
  return {
    transfer: url('transfer'),
    core: url('core-syscalls'),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}
