/**
 * Which holders of a pool are there, as the kernel knows it: open-file-description locks (fcntl(2), F_OFD_SETLK, since
 * Linux 3.15) on single bytes of the pool's memory file. The kernel gives them up when a process ends, however it ends,
 * and Node closes what a terminated worker had open: so a holder that has crashed is one whose byte can be locked.
 */
import { constants, SyscallError, syscalls } from '@zerocopy/core-syscalls';

const { EACCES, EAGAIN, F_OFD_GETLK, F_OFD_SETLK, F_UNLCK, F_WRLCK } = constants;
/** Milliseconds after which the holder that has the pool's lock must have been stopped in the middle of it. */
const PATIENCE = 1000;
/** The byte that stands for the pool itself; holder `n` has the byte `n + 1`. */
const POOL = 0;

export class HolderLocks {
  readonly #fd: number;
  /** struct flock, 32 bytes on 64-bit architectures: type, whence, start at 8, length at 16, pid at 24. */
  readonly #flock = new DataView(new ArrayBuffer(32));

  /** @param fd of an open file description of its own: a descriptor that a child may inherit shares its locks. */
  constructor(fd: number) {
    this.#fd = fd;
  }

  /** @returns false if another holder has it. */
  tryHold(holder: number): boolean {
    return this.#lock(holder + 1, F_WRLCK);
  }

  release(holder: number): void {
    this.#unlock(holder + 1);
  }

  /** Whether it is held no more; for holders other than oneself. */
  isGone(holder: number): boolean {
    this.#describe(holder + 1, F_WRLCK);
    const result = syscalls.fcntl(this.#fd, F_OFD_GETLK, this.#flock);
    if (result < 0) throw new SyscallError(result, 'fcntl(F_OFD_GETLK)');
    return this.#flock.getInt16(0, true) === F_UNLCK;
  }

  /**
   * Does `work` while no other holder does. It is short: another that has the lock is waited for by asking again.
   * @throws {Error} ERR_POOL_BUSY after a second.
   */
  exclusively<Result>(work: () => Result): Result {
    if (!this.#lock(POOL, F_WRLCK)) this.#insist();
    try {
      return work();
    } finally {
      this.#unlock(POOL);
    }
  }

  #insist(): void {
    const deadline = performance.now() + PATIENCE;
    while (!this.#lock(POOL, F_WRLCK)) {
      if (performance.now() < deadline) continue;
      const message = `another holder has kept the pool's lock for ${PATIENCE} ms: it has been stopped`;
      throw Object.assign(new Error(message), { code: 'ERR_POOL_BUSY' });
    }
  }

  #lock(byte: number, type: number): boolean {
    this.#describe(byte, type);
    const result = syscalls.fcntl(this.#fd, F_OFD_SETLK, this.#flock);
    if (result === -EAGAIN || result === -EACCES) return false;
    if (result < 0) throw new SyscallError(result, 'fcntl(F_OFD_SETLK)');
    return true;
  }

  /** No other lock can be in its way: if it fails, that is not what it says. */
  #unlock(byte: number): void {
    this.#describe(byte, F_UNLCK);
    const result = syscalls.fcntl(this.#fd, F_OFD_SETLK, this.#flock);
    if (result < 0) throw new SyscallError(result, 'fcntl(F_OFD_SETLK)');
  }

  #describe(byte: number, type: number): void {
    this.#flock.setInt16(0, type, true);
    this.#flock.setInt16(2, constants.SEEK_SET, true);
    this.#flock.setBigInt64(8, BigInt(byte), true);
    this.#flock.setBigInt64(16, 1n, true);
    this.#flock.setInt32(24, 0, true);
  }
}
