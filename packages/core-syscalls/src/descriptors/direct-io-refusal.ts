/** Which files cannot be read past the page cache, whatever open(2) says: some filesystems take O_DIRECT and ignore it. */
import type { Filesystem } from './filesystem.js';

/**
 * Why a regular file is not read past the page cache, in words; undefined: it is to be tried.
 * @param offsetAlign what statx tells (STATX_DIOALIGN), in bytes; 0: not supported; undefined: it does not tell.
 */
export function directIoRefusal({ kind, name }: Filesystem, offsetAlign: number | undefined): string | undefined {
  if (kind === 'memory') return `${name} keeps its files in memory`;
  if (kind === 'pseudo') return `the kernel makes up the files of ${name} as they are read`;
  if (offsetAlign === 0) return `${name} does not support direct I/O on this file`;
  if (offsetAlign === undefined && name === 'overlayfs') {
    return 'the filesystem beneath overlayfs does not say that it supports it';
  }
  return undefined;
}
