/** What is kept of a file besides its bytes, in the order that GNU cp has: owner, extended attributes, mode, times. */
import type { BigIntStats } from 'node:fs';
import { chmod, lchown } from 'node:fs/promises';
import { check, constants, syscalls } from '@zerocopy/core-syscalls';
import { assertPathPermitted } from '@zerocopy/transfer';
import { because, type Path, quoted } from './paths.js';
import type { CopySettings } from './settings.js';

const { EACCES, ENODATA, ENOTSUP, EPERM } = { ENODATA: 61, ENOTSUP: 95, ...constants };
const ACCESS_LIST = 'system.posix_acl_access';
const DEFAULT_LIST = 'system.posix_acl_default';
const PERMISSIONS = 0o7777n;
const SET_ID = 0o6000n;
/** Bytes that the kernel allows for the names, and for a value (XATTR_LIST_MAX, XATTR_SIZE_MAX). */
const XATTR_MAX = 65_536;

/** Whose attributes, and of what they were taken. */
export interface Original {
  readonly path: Path;
  readonly stat: BigIntStats;
}

/**
 * Gives `destination` what `settings` want kept of `original`.
 * @param plainMode the mode if it is not to be kept; undefined: it stays what it is.
 */
export async function giveAttributes(
  original: Original,
  destination: Path,
  settings: CopySettings,
  plainMode: number | undefined,
): Promise<void> {
  const { path, stat } = original;
  const { preserve, lenientXattr } = settings;
  const isLink = stat.isSymbolicLink();
  let mode = preserve.has('mode') ? stat.mode & PERMISSIONS : undefined;
  if (preserve.has('ownership')) {
    const owned = await changeOwner(destination, stat);
    if (!owned && mode !== undefined) mode &= ~SET_ID; // a program would run as somebody else than it was meant to
  }
  if (preserve.has('xattr') && !isLink) copyExtendedAttributes(path, destination, lenientXattr);
  if (!isLink) {
    const wanted = mode === undefined ? plainMode : Number(mode);
    if (wanted !== undefined) {
      await chmod(destination, wanted).catch((error: unknown) => {
        throw because(`preserving permissions for ${quoted(path)}`, error);
      });
    }
    if (preserve.has('mode')) copyAccessLists(path, destination, stat.isDirectory());
  }
  if (preserve.has('timestamps')) {
    askFor(destination, 'write', `preserving times for ${quoted(path)}`);
    const result = syscalls.utimensat(destination, stat.atimeNs, stat.mtimeNs);
    if (result < 0) throw failed(`preserving times for ${quoted(path)}`, result, 'utimensat');
  }
}

/** @returns whether it has the owner now. To an ordinary user that is refused, which is no error. */
async function changeOwner(destination: Path, { uid, gid }: BigIntStats): Promise<boolean> {
  try {
    await lchown(destination, Number(uid), Number(gid));
    return true;
  } catch (error) {
    if (!['EPERM', 'EINVAL'].includes((error as NodeJS.ErrnoException).code ?? '')) {
      throw because(`preserving ownership for ${quoted(destination)}`, error);
    }
    await lchown(destination, -1, Number(gid)).catch(() => {}); // a group of the user's own may do
    return false;
  }
}

/**
 * What a file that is replaced had, as if it had been written into: extended attributes, and without `losesLists` its access
 * list. Without that list the bits of its mode would let in others than before.
 */
export function keepAttributes(replaced: Path, made: Path, losesLists: boolean): void {
  copyExtendedAttributes(replaced, made, true, CAPABILITIES);
  if (!losesLists) copyAccessLists(replaced, made, false);
}

/** The kernel takes it from a file that is written into. */
const CAPABILITIES = 'security.capability';

function copyExtendedAttributes(source: Path, destination: Path, lenient: boolean, without?: string): void {
  const list = Buffer.alloc(XATTR_MAX);
  askFor(source, 'read', `listing attributes of ${quoted(source)}`);
  const length = syscalls.llistxattr(source, list);
  if (length === -ENOTSUP) return;
  if (length < 0) throw failed(`listing attributes of ${quoted(source)}`, length, 'llistxattr');
  for (let at = 0; at < length; ) {
    const end = list.indexOf(0, at);
    const name = list.subarray(at, end);
    at = end + 1;
    const text = name.toString();
    if (text.startsWith('system.posix_acl_') || text === without) continue; // lists are the mode's
    const result = copyAttribute(source, destination, name);
    if (result >= 0 || (lenient && [-ENOTSUP, -EPERM, -EACCES].includes(result))) continue;
    if (!lenient || result !== -ENODATA)
      throw failed(`setting attribute '${name}' for ${quoted(source)}`, result, 'lsetxattr');
  }
}

function copyAccessLists(source: Path, destination: Path, isDirectory: boolean): void {
  for (const name of isDirectory ? [ACCESS_LIST, DEFAULT_LIST] : [ACCESS_LIST]) {
    const result = copyAttribute(source, destination, Buffer.from(name));
    if (result >= 0 || result === -ENODATA || result === -ENOTSUP) continue;
    throw failed(`preserving permissions for ${quoted(source)}`, result, 'lsetxattr');
  }
}

function copyAttribute(source: Path, destination: Path, name: Buffer): number {
  const value = Buffer.alloc(XATTR_MAX);
  const what = `setting attribute '${name}' for ${quoted(source)}`;
  askFor(source, 'read', what);
  const length = syscalls.lgetxattr(source, name, value);
  if (length < 0) return length;
  askFor(destination, 'write', what);
  return syscalls.lsetxattr(destination, name, value.subarray(0, length));
}

/** Asks Node's permission model, which these system calls go around. @throws {CopyError} `what`, and what it says. */
function askFor(path: Path, wanted: 'read' | 'write', what: string): void {
  try {
    assertPathPermitted(path, wanted);
  } catch (error) {
    throw because(what, error);
  }
}

function failed(what: string, result: number, syscall: string): Error {
  try {
    check(result, syscall);
  } catch (error) {
    return because(what, error);
  }
  return new Error(what);
}
