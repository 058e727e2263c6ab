/**
 * Finds koffi, the addon through which libc is called, wherever a build has put the program: beside it in node_modules,
 * traced by a bundler, or as the one file `koffi.node`.
 *
 * Of koffi's files only its addon is needed: what its JavaScript does is to find that one, and to add deprecated names.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type * as Koffi from 'koffi';

/** Where koffi is, for another thread of this process. */
export interface KoffiLocation {
  /** The addon that this process has loaded; undefined where /proc does not tell. */
  readonly file: string | undefined;
  /** A file, or its URL, from which `koffi` can be resolved. */
  readonly from: string | undefined;
}

/** What a single executable application has of `node:sea`. */
interface SingleExecutable {
  isSea(): boolean;
  getRawAsset(key: string): ArrayBuffer;
}

/** The name of the addon beside a program, and of the asset of a single executable application. */
const ADDON = 'koffi.node';

/** This file, or the bundle that it is in; undefined where a bundler leaves neither. */
const here: string | undefined = location();

function location(): string | undefined {
  try {
    return __filename; // some bundlers say that it is there, by typeof, where it is not
  } catch {
    return import.meta.url;
  }
}

let given: KoffiLocation | undefined;

/** Says where koffi is: in a thread that has no file of its own. Before the first call of libc. */
export function useKoffi(location: KoffiLocation): void {
  given = location;
}

/** Where the koffi is that this process has loaded. */
export function koffiLocation(): KoffiLocation {
  let file: string | undefined;
  try {
    // A bundler may have renamed it.
    file = /\/\S.*\/[^/\n]*koffi[^/\n]*\.node$/m.exec(readFileSync('/proc/self/maps', 'utf8'))?.[0];
  } catch {} // no /proc, or not to be read
  return { file, from: given?.from ?? here };
}

const addon = (file: string): typeof Koffi => {
  const module = { exports: {} as typeof Koffi };
  process.dlopen(module, file);
  return module.exports;
};

function* places(): Generator<() => typeof Koffi> {
  const { file, from } = given ?? {};
  if (file !== undefined) yield () => addon(file);
  const executable = singleExecutable();
  // Written so that a bundler sees it, where it looks at CommonJS.
  const bundled =
    given === undefined && typeof require === 'function' ? () => require('koffi') as typeof Koffi : undefined;
  if (bundled !== undefined && executable === undefined) yield bundled;
  // A program that is started from another directory, or by a link, has its modules where its own file is. A single
  // executable application has what it was called by there, which need be no path.
  const starts = [from ?? here, executable === undefined ? process.argv[1] : process.execPath];
  for (const start of starts) {
    if (start === undefined || start === '') continue;
    yield () => requireFrom(start)('koffi') as typeof Koffi;
    yield () => requireFrom(start)(`./${ADDON}`) as typeof Koffi;
  }
  if (executable === undefined) return;
  yield () => embedded(executable);
  // Last: where no bundler has answered it, Node warns of it.
  if (bundled !== undefined) yield bundled;
}

/** Not imported: bundlers look for calls of createRequire, and put errors in the place of those that they do not understand. */
function requireFrom(start: string): NodeJS.Require {
  return process.getBuiltinModule('node:module').createRequire(start);
}

/** `node:sea`, in a single executable application. */
function singleExecutable(): SingleExecutable | undefined {
  try {
    const sea = process.getBuiltinModule('node:sea') as SingleExecutable | undefined;
    return sea?.isSea() === true ? sea : undefined;
  } catch {
    return undefined; // another runtime
  }
}

/** The addon out of the executable. The dynamic loader wants a file, which stays until the process ends, for its threads. */
function embedded(executable: SingleExecutable): typeof Koffi {
  const bytes = executable.getRawAsset(ADDON);
  const directory = mkdtempSync(join(tmpdir(), 'zerocopy-koffi-'));
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  const file = join(directory, ADDON);
  writeFileSync(file, new Uint8Array(bytes), { mode: 0o700 });
  return addon(file);
}

/**
 * Loads koffi. Its type is left out, since it would be in the declarations, which a CommonJS program could not compile.
 * @throws the error of the first place, where it is in none of them.
 */
export function loadKoffi(): unknown {
  let first: unknown;
  for (const load of places()) {
    try {
      const koffi = load();
      if (typeof koffi.load === 'function') return koffi;
    } catch (error) {
      first ??= error;
    }
  }
  throw first ?? new Error(`there is none beside ${here === undefined ? 'the program' : dirname(here)}`);
}
