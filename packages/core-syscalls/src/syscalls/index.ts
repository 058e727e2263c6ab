/**
 * Raw system calls: each returns what the kernel returns, a count or a negative errno.
 * No policy, no retry, no Error object; see `check` for exceptions.
 */
export { copyFileRange, copyFileRangeAsync } from './copy-file-range.js';
export { dup3 } from './dup3.js';
export { fcntl } from './fcntl.js';
export {
  cachestat,
  close,
  fallocate,
  fallocateAsync,
  fstatfs,
  fstatfsAsync,
  ftruncate,
  ioctl,
  ioctlAsync,
  lseek,
  lseekAsync,
  memfdCreate,
  posixFadvise,
  posixFadviseAsync,
  STATFS_SIZE,
  syncFileRangeAsync,
} from './file.js';
export { lgetxattr, llistxattr, lsetxattr, mknodat, type SyscallPath, utimensat } from './file-attributes.js';
export { eventfd, IO_URING_PARAMS_SIZE, ioUringEnter, ioUringRegister, ioUringSetup } from './io-uring.js';
export { createIovec, type Iovec, setIovecLength } from './iovec.js';
export {
  getpagesize,
  madvise,
  madviseAsync,
  mincore,
  mlock,
  mlockAsync,
  mmap,
  mmapAsync,
  mprotect,
  mremap,
  msync,
  msyncAsync,
  munlock,
  munmap,
} from './memory.js';
export { createOffsetCell, type OffsetCell, setOffset } from './offset.js';
export { openat2, openat2Async } from './openat2.js';
export { pipe2 } from './pipe2.js';
export {
  gettid,
  processVmReadv,
  pthreadSigmask,
  SIGACTION_FLAGS_OFFSET,
  SIGACTION_SIZE,
  SIGINFO_SIZE,
  SIGSET_SIZE,
  sigaction,
  sigtimedwait,
  tgkill,
} from './process.js';
export { pread, preadv2, pwrite, pwritev2, read, readv, write, writev } from './read-write.js';
export { sendfile, sendfileAsync } from './sendfile.js';
export { getsockopt, recv, send, setsockopt, setsockoptBytes, socket, socketpair } from './socket.js';
export { splice, spliceAsync, tee, vmsplice } from './splice.js';
export {
  copyStatxIdentity,
  fileIdentity,
  hasStatxIdentity,
  isSameStatxFile,
  readStatx,
  STATX_IDENTITY_SIZE,
  STATX_SIZE,
  type Statx,
  statmount,
  statx,
  statxAsync,
} from './statx.js';
