/** What a file must be for the kernel to send it, asked of the open descriptor without waiting for a disk. */
import { fstatSync } from 'node:fs';
import { constants, syscalls } from '@zerocopy/core-syscalls';

const { AT_EMPTY_PATH, STATX_BASIC_STATS } = constants;
/** Use what the kernel has; never ask a server (statx(2), since Linux 4.11). */
const AT_STATX_DONT_SYNC = 0x4000;
const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
const S_IFSOCK = 0o140000;
const S_IFIFO = 0o010000;

/** Filesystems whose files have no real size (rule 8): their st_size is 0, or a page for a few bytes. include/uapi/linux/magic.h */
const PSEUDO_FILESYSTEMS: ReadonlyMap<number, string> = new Map([
  [0x9fa0, 'procfs'],
  [0x62656572, 'sysfs'],
  [0x64626720, 'debugfs'],
  [0x74726163, 'tracefs'],
  [0x27e0eb, 'cgroup'],
  [0x63677270, 'cgroup2'],
  [0x73636673, 'securityfs'],
  [0x62656570, 'configfs'],
  [0xcafe4a11, 'bpf'],
  [0x6165676c, 'pstore'],
  [0xde5e81e4, 'efivarfs'],
]);
/** Filesystems that live in memory: nothing on them can be cold, and they refuse RWF_NOWAIT. */
const MEMORY_FILESYSTEMS: ReadonlySet<number> = new Set([0x01021994, 0x858458f6, 0x958458f6]);

export type SourceFacts =
  | { readonly sendable: true /** Bytes. */; readonly size: number }
  | { readonly sendable: false; readonly reason: string };

const statxBuffer = Buffer.alloc(syscalls.STATX_SIZE);
const statfsBuffer = Buffer.alloc(syscalls.STATFS_SIZE);

function filesystemType(fd: number): number {
  return syscalls.fstatfs(fd, statfsBuffer) < 0 ? 0 : statfsBuffer.readUInt32LE(0);
}

/** Whether the file's bytes are in memory by nature, so that reading them never waits. */
export function livesInMemory(fd: number): boolean {
  return MEMORY_FILESYSTEMS.has(filesystemType(fd));
}

/** By statx where it can be called, so that no server is asked; else by Node. */
function statusOf(fd: number): Pick<syscalls.Statx, 'mode' | 'nlink' | 'size' | 'blocks'> {
  const result = syscalls.statx(fd, '', AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, statxBuffer);
  return result < 0 ? fstatSync(fd) : syscalls.readStatx(statxBuffer);
}

export function isRegularFile(fd: number): boolean {
  return (statusOf(fd).mode & S_IFMT) === S_IFREG;
}

/** A socket, a pipe or a FIFO: what libuv can wait for. */
export function isPollable(fd: number): boolean {
  const type = statusOf(fd).mode & S_IFMT;
  return type === S_IFSOCK || type === S_IFIFO;
}

/** Whether somebody has removed the file while it was open: the last close frees its blocks, and may wait for the disk. */
export function isUnlinked(fd: number): boolean {
  return statusOf(fd).nlink === 0;
}

/** Whether sendfile may be tried on `fd` and its size believed. Fast: no disk, no thread. */
export function inspectSource(fd: number): SourceFacts {
  let status: ReturnType<typeof statusOf>;
  try {
    status = statusOf(fd);
  } catch (error) {
    // Whoever reads it is told by Node.
    return { sendable: false, reason: `the file cannot be examined (${(error as NodeJS.ErrnoException).code})` };
  }
  const { mode, size, blocks } = status;
  if ((mode & S_IFMT) !== S_IFREG) return { sendable: false, reason: 'the source is not a regular file' };
  if (size === 0) return { sendable: false, reason: 'the file is empty, or its size is not known' };
  if (blocks === 0) {
    // No block at all: a hole, a file stored in its inode, or a filesystem that invents sizes.
    const pseudo = PSEUDO_FILESYSTEMS.get(filesystemType(fd));
    if (pseudo !== undefined) return { sendable: false, reason: `the size of a file on ${pseudo} cannot be trusted` };
  }
  return { sendable: true, size };
}
