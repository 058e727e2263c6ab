/** The numbers of the kernel's interface, by the names of the manual pages. */
import { abi } from './abi.js';

/**
 * The errnos, flags and operations of the calls in `syscalls`, by the names of the manual pages. "since" says which
 * kernel was the first to know one; an older kernel answers EINVAL, or ignores a flag.
 * @see https://man7.org/linux/man-pages/dir_section_2.html
 */
export const constants = {
  // errno values of Linux, positive (include/uapi/asm-generic/errno.h)
  /** The operation is not permitted. */
  EPERM: 1,
  /** There is no such file or directory. */
  ENOENT: 2,
  /** A signal interrupted the call before it did anything. */
  EINTR: 4,
  /** The device or the server failed. */
  EIO: 5,
  /** There is no such device or address; lseek: the offset lies beyond the end, or no data follow it. */
  ENXIO: 6,
  /** The descriptor is not open, or not open for this. */
  EBADF: 9,
  /** The call would have to wait. The same number as EWOULDBLOCK. */
  EAGAIN: 11,
  /** The kernel has no memory for it. */
  ENOMEM: 12,
  /** The permissions do not allow it. */
  EACCES: 13,
  /** An address is not mapped, or not in that way. */
  EFAULT: 14,
  /** Something is in use, or has no room at present. */
  EBUSY: 16,
  /** The two files are on different filesystems. */
  EXDEV: 18,
  /** The device or the filesystem does not support the operation. */
  ENODEV: 19,
  /** It is a directory. */
  EISDIR: 21,
  /** An argument is invalid, or not supported for this kind of file. */
  EINVAL: 22,
  /** The system has too many open files. */
  ENFILE: 23,
  /** The process has too many open files. */
  EMFILE: 24,
  /** The ioctl operation does not apply to this kind of file. */
  ENOTTY: 25,
  /** The filesystem is full. */
  ENOSPC: 28,
  /** The file is not seekable: a pipe, a FIFO or a socket. */
  ESPIPE: 29,
  /** The reading end is closed. */
  EPIPE: 32,
  /** The kernel does not have the call; also answered by every call where libc cannot be loaded. */
  ENOSYS: 38,
  /** A value does not fit its type; copy_file_range: the end of the range lies beyond the largest offset. */
  EOVERFLOW: 75,
  /** The filesystem or the protocol does not support the operation. */
  EOPNOTSUPP: 95,
  /** The peer has reset the connection. */
  ECONNRESET: 104,
  /** The socket is not connected. */
  ENOTCONN: 107,
  /** The operation was cancelled. */
  ECANCELED: 125,

  /** The most one sendfile, splice, read or write moves in a call, in bytes: INT_MAX rounded down to a 4 KiB page. */
  MAX_RW_COUNT: 0x7ffff000,

  // open(2), openat2(2)
  /** In the place of a directory's descriptor: paths are relative to the current working directory. */
  AT_FDCWD: -100,
  /** With an empty path: the file is the one that `dirfd` is a descriptor of. */
  AT_EMPTY_PATH: 0x1000,
  /** If the last name of the path is a symbolic link, it is the link that is meant. */
  AT_SYMLINK_NOFOLLOW: 0x100,
  /** Mount nothing that would be mounted by being looked at; since Linux 2.6.38. */
  AT_NO_AUTOMOUNT: 0x800,
  /** statx: use what the kernel has, never ask a server; since Linux 4.11. */
  AT_STATX_DONT_SYNC: 0x4000,
  /** Open for reading only. */
  O_RDONLY: 0,
  /** Open for writing only. */
  O_WRONLY: 1,
  /** Open for reading and writing. */
  O_RDWR: 2,
  /** Create the file if it does not exist. */
  O_CREAT: 0o100,
  /** With O_CREAT: fail with EEXIST if the file exists. */
  O_EXCL: 0o200,
  /** Truncate a regular file to length 0. */
  O_TRUNC: 0o1000,
  /** Each write goes to the end of the file. */
  O_APPEND: 0o2000,
  /** Calls answer EAGAIN where they would have to wait. */
  O_NONBLOCK: 0o4000,
  /** The descriptor is closed by execve(2): child processes do not inherit it. */
  O_CLOEXEC: 0o2000000,
  /** A descriptor that names a file and opens nothing: no FIFO is woken, no device asked. */
  O_PATH: 0o10000000,
  /** Each write waits until its data are on the disk. */
  O_DSYNC: 0o10000,
  /** open: as O_DSYNC, and the metadata of the file as well; it contains O_DSYNC. */
  O_SYNC: 0o4010000,
  /** open: reads do not change the time of the last access. Of files of one's own only. */
  O_NOATIME: 0o1000000,
  /** Reads and writes go past the page cache. The number differs by architecture. */
  O_DIRECT: abi.O_DIRECT as number,
  /** Fail with ENOTDIR if it is no directory. The number differs by architecture. */
  O_DIRECTORY: abi.O_DIRECTORY as number,
  /** Fail with ELOOP if the last component is a symbolic link. The number differs by architecture. */
  O_NOFOLLOW: abi.O_NOFOLLOW as number,
  /** Do not follow magic links, such as those in /proc/self/fd. */
  RESOLVE_NO_MAGICLINKS: 0x02,
  /** Do not follow any symbolic link. */
  RESOLVE_NO_SYMLINKS: 0x04,
  /** Fail with EXDEV if the path leads out of the directory, also for a moment. */
  RESOLVE_BENEATH: 0x08,
  /** The directory is the root of the path, as after chroot(2). */
  RESOLVE_IN_ROOT: 0x10,
  /** Look the path up in the kernel's cache only, else EAGAIN; since Linux 5.12. */
  RESOLVE_CACHED: 0x20,

  // lseek(2)
  /** The offset counts from the start of the file. */
  SEEK_SET: 0,
  /** The offset counts from the current position. */
  SEEK_CUR: 1,
  /** Go to the next data at or after the offset; since Linux 3.1. */
  SEEK_DATA: 3,
  /** Go to the next hole at or after the offset, the end of the file included; since Linux 3.1. */
  SEEK_HOLE: 4,

  // fcntl(2)
  /** Get the descriptor's own flags (FD_CLOEXEC = 1). */
  F_GETFD: 1,
  /** Set the descriptor's own flags. */
  F_SETFD: 2,
  /** Get the access mode and the status flags (O_*). */
  F_GETFL: 3,
  /** Set the status flags: O_APPEND, O_DIRECT, O_NONBLOCK and others. */
  F_SETFL: 4,
  /** Set the signal that is sent instead of SIGIO. */
  F_SETSIG: 10,
  /** Get the signal that is sent instead of SIGIO; 0: SIGIO. */
  F_GETSIG: 11,
  /** Set which thread, process or group gets the signals: a struct f_owner_ex. */
  F_SETOWN_EX: 15,
  /** Look for a lock that conflicts with an open-file-description lock; since Linux 3.15. */
  F_OFD_GETLK: 36,
  /** Take or give up an open-file-description lock, else EAGAIN; since Linux 3.15. */
  F_OFD_SETLK: 37,
  /** Take or give up a lease: F_RDLCK, F_WRLCK or F_UNLCK. */
  F_SETLEASE: 1024,
  /** Get the lease; while it is being broken, the type that it must become. */
  F_GETLEASE: 1025,
  /** Duplicate the descriptor to the lowest free number that is not below the argument, with close-on-exec set. */
  F_DUPFD_CLOEXEC: 1030,
  /** Set the capacity of a pipe in bytes; answers the capacity it has got. */
  F_SETPIPE_SZ: 1031,
  /** Get the capacity of a pipe in bytes. */
  F_GETPIPE_SZ: 1032,
  /** Add seals (F_SEAL_*) to a memfd. */
  F_ADD_SEALS: 1033,
  /** Get the seals of a memfd. */
  F_GET_SEALS: 1034,
  /** A read lock or a read lease. */
  F_RDLCK: 0,
  /** A write lock or a write lease. */
  F_WRLCK: 1,
  /** No lock, no lease. */
  F_UNLCK: 2,
  /** In a struct f_owner_ex: the id is that of a thread. */
  F_OWNER_TID: 0,
  /** No more seals can be added. */
  F_SEAL_SEAL: 0x01,
  /** The memfd cannot become shorter. */
  F_SEAL_SHRINK: 0x02,
  /** The memfd cannot become longer. */
  F_SEAL_GROW: 0x04,
  /** The memfd cannot be written to. */
  F_SEAL_WRITE: 0x08,
  /** Only writable mappings that exist already can write to the memfd; since Linux 5.1. */
  F_SEAL_FUTURE_WRITE: 0x10,

  // splice(2), tee(2), vmsplice(2)
  /** Move pages instead of copying them, where possible; without effect since Linux 2.6.21. */
  SPLICE_F_MOVE: 1,
  /** Do not wait for the pipe. The other end has to be O_NONBLOCK by itself (kernel-rules: nonblock-both). */
  SPLICE_F_NONBLOCK: 2,
  /** More bytes follow at once: the socket holds back what does not fill a segment (kernel-rules: splice-more). */
  SPLICE_F_MORE: 4,
  /** vmsplice: the pages are given to the kernel, and must never be written to again. */
  SPLICE_F_GIFT: 8,

  // preadv2(2), pwritev2(2)
  /** Read only what is in the page cache; since Linux 4.14. */
  RWF_NOWAIT: 0x08,
  /** The write goes to the end of the file, as with O_APPEND; since Linux 4.16. */
  RWF_APPEND: 0x10,

  // mmap(2), madvise(2), msync(2)
  /** Pages cannot be accessed. */
  PROT_NONE: 0,
  /** Pages can be read. */
  PROT_READ: 1,
  /** Pages can be written to. */
  PROT_WRITE: 2,
  /** Pages can be executed. */
  PROT_EXEC: 4,
  /** Writes reach the file and every other mapping of it. */
  MAP_SHARED: 0x01,
  /** Copy-on-write: a page that is written to becomes this mapping's own. */
  MAP_PRIVATE: 0x02,
  /** The mapping is placed exactly at the address, in the place of what is mapped there. */
  MAP_FIXED: 0x10,
  /** The mapping has no file, and begins as zeros. */
  MAP_ANONYMOUS: 0x20,
  /** Reserve no swap space. */
  MAP_NORESERVE: 0x4000,
  /** Read the file ahead, and fill the page tables. */
  MAP_POPULATE: 0x8000,
  /** The mapping may move to another address. */
  MREMAP_MAYMOVE: 1,
  /** The mapping moves to the given address, in the place of what is mapped there; only with MREMAP_MAYMOVE. */
  MREMAP_FIXED: 2,
  /** Do not wait for the writes. */
  MS_ASYNC: 1,
  /** Wait until the data are on the disk. */
  MS_SYNC: 4,
  /** No special treatment: the default. */
  MADV_NORMAL: 0,
  /** Accesses will be in random order: read nothing ahead. */
  MADV_RANDOM: 1,
  /** Accesses will be in sequence: read much ahead. */
  MADV_SEQUENTIAL: 2,
  /** Start to read the pages ahead. */
  MADV_WILLNEED: 3,
  /** Drop the pages. Those of a private mapping lose what was written to them. */
  MADV_DONTNEED: 4,
  /** Use transparent huge pages. */
  MADV_HUGEPAGE: 14,
  /** Use no transparent huge pages. */
  MADV_NOHUGEPAGE: 15,
  /** Reclaim these pages first when memory is short; since Linux 5.4. */
  MADV_COLD: 20,
  /** Reclaim these pages now; since Linux 5.4. */
  MADV_PAGEOUT: 21,
  /** Fill the page tables for reading, and report what fails; since Linux 5.14. */
  MADV_POPULATE_READ: 22,
  /** Fill the page tables for writing, and report what fails; since Linux 5.14. */
  MADV_POPULATE_WRITE: 23,

  // posix_fadvise(2)
  /** Reads will be at random: do not read ahead. */
  POSIX_FADV_RANDOM: 1,
  /** Reads will be in sequence: read twice as much ahead. */
  POSIX_FADV_SEQUENTIAL: 2,
  /** Start to read the range into the page cache. */
  POSIX_FADV_WILLNEED: 3,
  /** Drop the clean pages of the range from the page cache. */
  POSIX_FADV_DONTNEED: 4,

  // sync_file_range(2)
  /** Wait for the writes of the range that are under way. */
  SYNC_FILE_RANGE_WAIT_BEFORE: 1,
  /** Start to write the dirty pages of the range. */
  SYNC_FILE_RANGE_WRITE: 2,
  /** Wait for the writes that were started. */
  SYNC_FILE_RANGE_WAIT_AFTER: 4,

  // fallocate(2)
  /** The size of the file stays as it is. */
  FALLOC_FL_KEEP_SIZE: 0x01,
  /** Give the blocks of the range back: it reads as zeros; only with FALLOC_FL_KEEP_SIZE. */
  FALLOC_FL_PUNCH_HOLE: 0x02,

  // memfd_create(2)
  /** The descriptor is closed by execve(2). */
  MFD_CLOEXEC: 0x01,
  /** Seals can be added. */
  MFD_ALLOW_SEALING: 0x02,

  // statx(2)
  /** All that stat(2) answers. */
  STATX_BASIC_STATS: 0x7ff,
  /** In `attributes`: chattr +i */
  STATX_ATTR_IMMUTABLE: 0x10,
  /** Alignment for direct I/O; since Linux 6.1. */
  STATX_DIOALIGN: 0x2000,
  /** since Linux 6.8 */
  STATX_MNT_ID_UNIQUE: 0x4000,
  /** Alignment for direct reads where it is smaller than for writes; since Linux 6.16. */
  STATX_DIO_READ_ALIGN: 0x20000,
  /** statmount(2): the superblock's device, magic number and flags */
  STATMOUNT_SB_BASIC: 1,

  // sockets
  /** Sockets within the machine, unix(7). */
  AF_UNIX: 1,
  /** IPv4, ip(7). */
  AF_INET: 2,
  /** A stream of bytes. */
  SOCK_STREAM: 1,
  /** Datagrams. */
  SOCK_DGRAM: 2,
  /** A sequence of packets with boundaries. */
  SOCK_SEQPACKET: 5,
  /** socket: the descriptor is O_NONBLOCK. */
  SOCK_NONBLOCK: 0o4000,
  /** socket: the descriptor is closed by execve(2). */
  SOCK_CLOEXEC: 0o2000000,
  /** The level of options that every socket has, socket(7). */
  SOL_SOCKET: 1,
  /** The type of the socket, for instance SOCK_STREAM; can only be read. */
  SO_TYPE: 3,
  /** The size of the send buffer in bytes; reads as twice of what was set. */
  SO_SNDBUF: 7,
  /** Whether close(2) waits, or resets: a struct linger. */
  SO_LINGER: 13,
  /** Allow MSG_ZEROCOPY; since Linux 4.14. */
  SO_ZEROCOPY: 60,
  /** The level of the options of tcp(7). */
  IPPROTO_TCP: 6,
  /** Send full segments only, until it is taken off or 200 ms have passed. */
  TCP_CORK: 3,
  /** An upper layer protocol by its name, for instance 'tls'; since Linux 4.13. */
  TCP_ULP: 31,
  /** Of recv(2): what is read stays to be read. */
  MSG_PEEK: 0x2,
  /** This call does not wait: EAGAIN, as if the socket were O_NONBLOCK. */
  MSG_DONTWAIT: 0x40,
  /** TCP: throw the bytes away instead of storing them. */
  MSG_TRUNC: 0x20,
  /** No SIGPIPE if the peer has closed; only the error. */
  MSG_NOSIGNAL: 0x4000,

  // ioctl(2)
  /** How many bytes can be read at once, as an int. */
  FIONREAD: 0x541b,
  /** Make this file share all blocks of another, whose descriptor is the argument. */
  FICLONE: 0x40049409,
  /** Make a range of this file share the blocks of another: a struct file_clone_range. */
  FICLONERANGE: 0x4020940d,
  /** The flags of an inode (FS_*_FL), as a long. */
  FS_IOC_GETFLAGS: 0x80086601,
  /** btrfs: the file is not copied on write, and has no checksums. */
  FS_NOCOW_FL: 0x00800000,
  /** Ask a network interface: a struct ifreq with an ethtool command. */
  SIOCETHTOOL: 0x8946,

  // sigaction(2), pthread_sigmask(3)
  /** Access to a part of a mapping that has no memory behind it. */
  SIGBUS: 7,
  /** I/O is possible, or a lease is being broken. */
  SIGIO: 29,
  /** Add the set to the blocked signals. */
  SIG_BLOCK: 0,
  /** Take the set out of the blocked signals. */
  SIG_UNBLOCK: 1,
  /** The set becomes the blocked signals. */
  SIG_SETMASK: 2,
  /** The handler takes three arguments. */
  SA_SIGINFO: 0x00000004,
  /** The handler runs on the alternate stack, sigaltstack(2). */
  SA_ONSTACK: 0x08000000,
  /** Calls that the handler interrupts are made again, where that is possible. */
  SA_RESTART: 0x10000000,
} as const;
