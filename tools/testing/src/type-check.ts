/** Programs of users, type-checked under each way in which they may resolve modules. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { removeDirectory, temporaryDirectory } from './files.js';

const installed = createRequire(import.meta.url);
const compiler = join(dirname(installed.resolve('typescript/package.json')), 'bin', 'tsc');

/** Ways to resolve modules, and the compiler options of each. */
export const RESOLUTIONS: Readonly<Record<string, readonly string[]>> = {
  nodenext: ['--module', 'nodenext'],
  node16: ['--module', 'node16'],
  bundler: ['--module', 'esnext', '--moduleResolution', 'bundler'],
};

/**
 * What is wrong with `program`, an ES module in a folder where the packages and the types of Node are installed, and
 * with every declaration file of this repository that it leads to: `file(line,column): error code: message` for each.
 * @param options one of {@link RESOLUTIONS}
 */
export function typeErrors(program: string, options: readonly string[]): string[] {
  const directory = temporaryDirectory(undefined, 'type-check');
  try {
    const modules = dirname(dirname(installed.resolve('@types/node/package.json')));
    mkdirSync(join(directory, 'node_modules'));
    for (const scope of ['@types', '@zerocopy']) {
      symlinkSync(join(dirname(modules), scope), join(directory, 'node_modules', scope));
    }
    writeFileSync(join(directory, 'program.mts'), program);
    const ambient = [
      '--target',
      'es2022',
      '--lib',
      'es2023,esnext.disposable',
      '--types',
      'node',
      '--skipLibCheck',
      'false',
    ];
    const { stdout, error } = spawnSync(
      process.execPath,
      [compiler, '--noEmit', '--strict', '--pretty', 'false', ...ambient, ...options, 'program.mts'],
      { cwd: directory, encoding: 'utf8' },
    );
    if (error !== undefined) throw error;
    // What is installed is its authors' to check; a sibling resolves to its own folder here.
    return stdout.split('\n').filter((line) => /\berror TS\d+:/.test(line) && !line.includes('/node_modules/'));
  } finally {
    removeDirectory(directory);
  }
}
