/** Why a file that is open cannot be read or written past the page cache: asked before it is tried. */
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { directIoRefusal, factsOf, isBlockDevice, isRegularFile } from '@zerocopy/core-syscalls/descriptors';
import { toldAlignment } from './alignment.js';
import { unavailable } from './feature.js';

const { FS_IOC_GETFLAGS, FS_NOCOW_FL, F_GETFL, O_APPEND, O_RDONLY } = constants;
const O_ACCMODE = 3;

/** The access mode of an open file: O_RDONLY, O_WRONLY or O_RDWR. */
export const accessOf = (fd: number): number => Math.max(0, syscalls.fcntl(fd, F_GETFL)) & O_ACCMODE;

/** btrfs writes through the page cache where it keeps checksums, since Linux 6.15: memory that changes would not fit them. */
function hasChecksums(fd: number): boolean {
  const flags = new Int32Array(2);
  return syscalls.ioctl(fd, FS_IOC_GETFLAGS, flags) < 0 || ((flags[0] as number) & FS_NOCOW_FL) === 0;
}

/**
 * Why O_DIRECT would not do on this open file what it says, in words; undefined: it is to be tried.
 * @throws Node's error if it cannot be examined: EBADF.
 */
export function refusalOf(fd: number): string | undefined {
  const disabled = unavailable();
  if (disabled !== undefined) return disabled;
  const facts = factsOf(fd);
  if (!isRegularFile(facts) && !isBlockDevice(facts)) return 'it is neither a regular file nor a block device';
  const { filesystem } = facts;
  const told = toldAlignment(fd);
  if (!isBlockDevice(facts)) {
    const refused = directIoRefusal(filesystem, told === null ? 0 : told?.offset);
    if (refused !== undefined) return refused;
  } else if (told === null) return 'the device does not support direct I/O';
  if ((Math.max(0, syscalls.fcntl(fd, F_GETFL)) & O_APPEND) !== 0)
    return 'with O_APPEND the kernel chooses the position';
  if (filesystem.name === 'btrfs' && accessOf(fd) !== O_RDONLY && hasChecksums(fd)) {
    return 'btrfs writes files with checksums through the page cache';
  }
  return undefined;
}
