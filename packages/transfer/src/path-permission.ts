/**
 * Node's permission model (`node --permission`, https://nodejs.org/api/permissions.html), for paths that are opened, looked
 * at, made or changed by a system call. node:fs asks by itself; openat2, mknodat, lsetxattr and their like go around it.
 */
import { constants } from '@zerocopy/core-syscalls';
import { pathText } from './options.js';

const { O_APPEND, O_CREAT, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = constants;

interface Permission {
  has(scope: string, reference?: string): boolean;
}

/** Undefined unless the process was started with the permission model. Captured at import. */
const permission = (process as unknown as { permission?: Permission }).permission;

/** The flag is part of the message since Node 22. */
const tellsFlag = Number.parseInt(process.versions.node, 10) >= 22;

/** The error of node:fs for a path that the permission model denies. Its shape: `code`, `permission`, `resource`. */
function accessDenied(scope: 'FileSystemRead' | 'FileSystemWrite', resource: string): Error {
  const flag = scope === 'FileSystemRead' ? '--allow-fs-read' : '--allow-fs-write';
  const advice = tellsFlag ? `. Use ${flag} to manage permissions.` : '';
  return Object.assign(new Error(`Access to this API has been restricted${advice}`), {
    code: 'ERR_ACCESS_DENIED',
    permission: scope,
    resource,
  });
}

/**
 * To be called before a system call is given a path: 'read' where it tells of the file, 'write' where it makes or changes it.
 * Costs nothing where there is no permission model.
 * @throws {Error} ERR_ACCESS_DENIED, in the shape of node:fs.
 */
export function assertPathPermitted(path: string | Uint8Array | URL, wanted: 'read' | 'write'): void {
  if (permission === undefined) return;
  const name = pathText(path);
  if (permission.has(`fs.${wanted}`, name)) return;
  throw accessDenied(wanted === 'read' ? 'FileSystemRead' : 'FileSystemWrite', name);
}

/**
 * To be called before a path is opened by a system call. Costs nothing where there is no permission model.
 *
 * @param flags of open(2): reading is asked for unless they say O_WRONLY; writing unless they say O_RDONLY, and for
 * O_CREAT, O_TRUNC and O_APPEND, as fs.open does. A path that is only looked at (O_PATH) is asked for as one that is read.
 * @throws {Error} ERR_ACCESS_DENIED, in the shape of fs.open's.
 */
export function assertOpenPermitted(path: string | Uint8Array | URL, flags: number): void {
  if (permission === undefined) return;
  const access = flags & (O_WRONLY | O_RDWR);
  if (access !== O_WRONLY) assertPathPermitted(path, 'read');
  if (access !== O_RDONLY || (flags & (O_CREAT | O_TRUNC | O_APPEND)) !== 0) assertPathPermitted(path, 'write');
}
