/** The options of mapFile and mapFileSync. */
import {
  pathText,
  readOptions,
  validateBoolean,
  validateBytes,
  validateChoice,
  validatePath,
} from '@zerocopy/transfer';

/** What may be done with a mapping's bytes; see {@link MapOptions.access}. */
export type MapAccess = 'read' | 'write' | 'private';
/** What is done about a file that is cut short; see {@link MapOptions.guard}. */
export type MapGuard = 'lease' | 'trap' | 'both' | 'none';

/** The options of mapFile and mapFileSync. */
export interface MapOptions {
  /**
   * 'read' (the default): for reading. A store does not fail: it changes this mapping and nothing else.
   * 'write': stores go to the file (MAP_SHARED). 'private': stores are meant, and stay here (copy-on-write, MAP_PRIVATE).
   */
  access?: MapAccess;
  /** Of the first byte, in bytes; need not be a multiple of the page size. Default 0. */
  offset?: number;
  /** In bytes. Default: to the file's end. */
  length?: number;
  /** Read it into memory, and map each page, before this resolves. Default false. */
  populate?: boolean;
  /** Ask for huge pages (MADV_HUGEPAGE): for files on tmpfs, and elsewhere as the kernel is built. Default false. */
  hugePages?: boolean;
  /**
   * What is done about the file being cut short by another process (kernel-rules: sigbus-remedies).
   *
   * - 'trap' (the default): what is missing reads as zeros, and `truncated` tells.
   * - 'lease' (`access: 'read'` only): a process that wants to change the file waits until this mapping is a copy of what
   *   it was. It waits for the kernel's 45 seconds if this process is stopped (SIGSTOP, Ctrl-Z) and cannot answer; an
   *   open(2) with O_NONBLOCK fails (kernel-rules: stopped-lease-holder).
   * - 'both': the trap, and for 'read' a lease where one can be had, so that the file cannot be shortened unnoticed; the
   *   mapping follows the file. What is said of 'lease' about stopped processes holds.
   * - 'none': nothing, and the process dies of it.
   */
  guard?: MapGuard;
}

/** What is to be mapped, and how. */
export interface MapPlan extends Required<Omit<MapOptions, 'length'>> {
  readonly path: string | Buffer;
  /** The path for errors. */
  readonly name: string;
  readonly length: number | undefined;
}

const NAMES = ['access', 'offset', 'length', 'populate', 'hugePages', 'guard'] as const;

/** @throws {TypeError | RangeError} unless these are what mapFile takes. */
export function planOf(path: string | Buffer | URL, given: MapOptions): MapPlan {
  validatePath(path, 'path');
  const options = readOptions<MapOptions>(given, NAMES);
  const { access = 'read', offset = 0, length, populate = false, hugePages = false, guard = 'trap' } = options;
  validateChoice(access, 'access', ['read', 'write', 'private']);
  validateChoice(guard, 'guard', ['lease', 'trap', 'both', 'none']);
  validateBytes(offset, 'offset');
  validateBytes(length, 'length');
  validateBoolean(populate, 'populate');
  validateBoolean(hugePages, 'hugePages');
  if (guard === 'lease' && access !== 'read') {
    const why = 'stores made while it is copied would be lost';
    throw Object.assign(new TypeError(`A mapping with access '${access}' cannot be guarded by a lease alone: ${why}`), {
      code: 'ERR_INVALID_ARG_VALUE',
    });
  }
  const name = pathText(path);
  // It is looked at more than once: the caller may not change it in between.
  const kept = path instanceof Uint8Array ? Buffer.from(path) : name;
  return { path: kept, name, access, offset, length, populate, hugePages, guard };
}
