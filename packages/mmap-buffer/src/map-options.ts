/** The options of mapFile and mapFileSync. */
import { validateBoolean, validateChoice, validateCount, validateOptions, validatePath } from './options.js';

export type MapAccess = 'read' | 'write' | 'private';
export type MapGuard = 'lease' | 'trap' | 'both' | 'none';

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
   * What is done about the file being cut short by somebody else (rule 28).
   * 'trap': what is missing reads as zeros, and `truncated` tells. 'lease' (`access: 'read'` only): whoever wants to change
   * the file waits until this mapping is a copy of what it was. 'both' (the default): the trap, and for 'read' a lease
   * where one can be had, by which nobody gets to shorten the file unnoticed; the mapping follows the file. 'none':
   * nothing, and the process dies of it.
   */
  guard?: MapGuard;
}

export interface MapPlan extends Required<Omit<MapOptions, 'length'>> {
  readonly path: string | Buffer | URL;
  readonly length: number | undefined;
}

export function planOf(path: string | Buffer | URL, options: MapOptions): MapPlan {
  validatePath(path);
  validateOptions(options);
  const { access = 'read', offset = 0, length, populate = false, hugePages = false, guard = 'both' } = options;
  validateChoice(access, 'access', ['read', 'write', 'private']);
  validateChoice(guard, 'guard', ['lease', 'trap', 'both', 'none']);
  validateCount(offset, 'offset');
  if (length !== undefined) validateCount(length, 'length');
  validateBoolean(populate, 'populate');
  validateBoolean(hugePages, 'hugePages');
  if (guard === 'lease' && access !== 'read') {
    const why = 'stores made while it is copied would be lost';
    throw Object.assign(new TypeError(`A mapping with access '${access}' cannot be guarded by a lease alone: ${why}`), {
      code: 'ERR_INVALID_ARG_VALUE',
    });
  }
  return { path, access, offset, length, populate, hugePages, guard };
}
