/** Flags and commands of the wrapped calls. "since" names the first kernel that knows one. */
import { abi } from './abi.js';

export const constants = {
  // errno values of Linux, positive (include/uapi/asm-generic/errno.h)
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EXDEV: 18,
  ENODEV: 19,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ENOTTY: 25,
  ENOSPC: 28,
  ESPIPE: 29,
  EPIPE: 32,
  ENOSYS: 38,
  EOVERFLOW: 75,
  EOPNOTSUPP: 95,
  ECONNRESET: 104,
  ENOTCONN: 107,
  ECANCELED: 125,

  /** The most one sendfile, splice, read or write moves in a call, in bytes: INT_MAX rounded down to a 4 KiB page. */
  MAX_RW_COUNT: 0x7ffff000,

  // open(2), openat2(2)
  AT_FDCWD: -100,
  AT_EMPTY_PATH: 0x1000,
  /** statx: use what the kernel has, never ask a server; since Linux 4.11. */
  AT_STATX_DONT_SYNC: 0x4000,
  O_RDONLY: 0,
  O_WRONLY: 1,
  O_RDWR: 2,
  O_CREAT: 0o100,
  O_EXCL: 0o200,
  O_TRUNC: 0o1000,
  O_APPEND: 0o2000,
  O_NONBLOCK: 0o4000,
  O_CLOEXEC: 0o2000000,
  /** A descriptor that names a file and opens nothing: no FIFO is woken, no device asked. */
  O_PATH: 0o10000000,
  O_DIRECT: abi.O_DIRECT as number,
  O_DIRECTORY: abi.O_DIRECTORY as number,
  O_NOFOLLOW: abi.O_NOFOLLOW as number,
  RESOLVE_NO_MAGICLINKS: 0x02,
  RESOLVE_NO_SYMLINKS: 0x04,
  RESOLVE_BENEATH: 0x08,
  RESOLVE_IN_ROOT: 0x10,
  /** since Linux 5.12 */
  RESOLVE_CACHED: 0x20,

  // lseek(2)
  SEEK_SET: 0,
  SEEK_CUR: 1,
  /** since Linux 3.1 */
  SEEK_DATA: 3,
  /** since Linux 3.1 */
  SEEK_HOLE: 4,

  // fcntl(2)
  F_GETFD: 1,
  F_SETFD: 2,
  F_GETFL: 3,
  F_SETFL: 4,
  F_SETSIG: 10,
  F_GETSIG: 11,
  F_SETOWN_EX: 15,
  /** since Linux 3.15 */
  F_OFD_GETLK: 36,
  /** since Linux 3.15 */
  F_OFD_SETLK: 37,
  F_SETLEASE: 1024,
  F_GETLEASE: 1025,
  F_DUPFD_CLOEXEC: 1030,
  F_SETPIPE_SZ: 1031,
  F_GETPIPE_SZ: 1032,
  F_ADD_SEALS: 1033,
  F_GET_SEALS: 1034,
  F_RDLCK: 0,
  F_WRLCK: 1,
  F_UNLCK: 2,
  F_OWNER_TID: 0,
  F_SEAL_SEAL: 0x01,
  F_SEAL_SHRINK: 0x02,
  F_SEAL_GROW: 0x04,
  F_SEAL_WRITE: 0x08,
  /** since Linux 5.1 */
  F_SEAL_FUTURE_WRITE: 0x10,

  // splice(2), tee(2), vmsplice(2)
  SPLICE_F_MOVE: 1,
  SPLICE_F_NONBLOCK: 2,
  SPLICE_F_MORE: 4,
  SPLICE_F_GIFT: 8,

  // preadv2(2), pwritev2(2)
  /** Read only what is in the page cache; since Linux 4.14. */
  RWF_NOWAIT: 0x08,
  RWF_APPEND: 0x10,

  // mmap(2), madvise(2), msync(2)
  PROT_NONE: 0,
  PROT_READ: 1,
  PROT_WRITE: 2,
  PROT_EXEC: 4,
  MAP_SHARED: 0x01,
  MAP_PRIVATE: 0x02,
  MAP_FIXED: 0x10,
  MAP_ANONYMOUS: 0x20,
  MAP_NORESERVE: 0x4000,
  MAP_POPULATE: 0x8000,
  MREMAP_MAYMOVE: 1,
  MREMAP_FIXED: 2,
  MS_ASYNC: 1,
  MS_SYNC: 4,
  MADV_NORMAL: 0,
  MADV_RANDOM: 1,
  MADV_SEQUENTIAL: 2,
  MADV_WILLNEED: 3,
  MADV_DONTNEED: 4,
  MADV_HUGEPAGE: 14,
  MADV_NOHUGEPAGE: 15,
  /** since Linux 5.4 */
  MADV_COLD: 20,
  /** since Linux 5.4 */
  MADV_PAGEOUT: 21,
  /** since Linux 5.14 */
  MADV_POPULATE_READ: 22,
  /** since Linux 5.14 */
  MADV_POPULATE_WRITE: 23,

  // posix_fadvise(2)
  POSIX_FADV_RANDOM: 1,
  POSIX_FADV_SEQUENTIAL: 2,
  POSIX_FADV_WILLNEED: 3,
  POSIX_FADV_DONTNEED: 4,

  // fallocate(2)
  FALLOC_FL_KEEP_SIZE: 0x01,
  FALLOC_FL_PUNCH_HOLE: 0x02,

  // memfd_create(2)
  MFD_CLOEXEC: 0x01,
  MFD_ALLOW_SEALING: 0x02,

  // statx(2)
  STATX_BASIC_STATS: 0x7ff,
  /** In `attributes`: chattr +i */
  STATX_ATTR_IMMUTABLE: 0x10,
  /** since Linux 6.1 */
  STATX_DIOALIGN: 0x2000,
  /** since Linux 6.8 */
  STATX_MNT_ID_UNIQUE: 0x4000,
  /** statmount(2): the superblock's device, magic number and flags */
  STATMOUNT_SB_BASIC: 1,

  // sockets
  AF_UNIX: 1,
  AF_INET: 2,
  SOCK_STREAM: 1,
  SOCK_DGRAM: 2,
  SOCK_SEQPACKET: 5,
  SOCK_NONBLOCK: 0o4000,
  SOCK_CLOEXEC: 0o2000000,
  SOL_SOCKET: 1,
  SO_TYPE: 3,
  SO_SNDBUF: 7,
  SO_LINGER: 13,
  SO_ZEROCOPY: 60,
  IPPROTO_TCP: 6,
  TCP_CORK: 3,
  TCP_ULP: 31,
  MSG_DONTWAIT: 0x40,
  MSG_TRUNC: 0x20,
  MSG_NOSIGNAL: 0x4000,

  // ioctl(2)
  FIONREAD: 0x541b,
  FICLONE: 0x40049409,
  FICLONERANGE: 0x4020940d,
  SIOCETHTOOL: 0x8946,

  // sigaction(2), pthread_sigmask(3)
  SIGBUS: 7,
  SIGIO: 29,
  SIG_BLOCK: 0,
  SIG_UNBLOCK: 1,
  SIG_SETMASK: 2,
  SA_SIGINFO: 0x00000004,
  SA_ONSTACK: 0x08000000,
  SA_RESTART: 0x10000000,
} as const;
