/** The attempt and the waits of sendfile(2) into a socket. */
import { constants, SyscallError, syscalls } from '@zerocopy/core-syscalls';
import { uninterrupted } from '@zerocopy/core-syscalls/native';
import {
  describeRefusal,
  NOT_RESIDENT,
  OwnedDescriptor,
  type Resume,
  readRetrying,
  refusalOf,
  SOURCE_ENDED,
  WOULD_BLOCK,
  type WriteSlot,
} from '@zerocopy/transfer';
import { type CarryingEngine, withPrefix } from './chunked-engine.js';
import { sendfileOffThread } from './offload.js';
import { ResidencyGate } from './residency.js';
import { SENDFILE_REFUSALS } from './sendfile-refusals.js';
import { SlotCopyEngine } from './slot-copy-engine.js';

const KiB = 1024;
/** What goes through the stream's own write when the socket is full: enough to be the wake-up, little to copy and keep. */
const CARRY_SIZE = KiB;
/** Sent in one call on another thread, for cold ranges. */
const OFFLOAD_SIZE = 1024 * KiB;
/** Read ahead of an offloaded call, so that the next one finds its pages. */
const READ_AHEAD = 2 * OFFLOAD_SIZE;

const { EAGAIN, EBADF, EINTR, RWF_NOWAIT } = constants;

/** sendfile(2) from `fd`, at its own position, into the socket whose slot it holds. */
export class SendfileEngine implements CarryingEngine {
  readonly method = 'sendfile';
  readonly syscall = 'sendfile';
  readonly #slot: WriteSlot;
  readonly #fd: number;
  readonly #gate: ResidencyGate;
  #position: number;
  #inStream = 0;
  #full = false;
  #carry: syscalls.Iovec | undefined;
  /** The next bytes to carry are cold: they are read off this thread, and the transfer waits for that. */
  #carryIsCold = false;
  /** Read off this thread, to go out by the stream's own write. */
  #read: Buffer | undefined;
  /** What goes before it. */
  #prefix = '';

  /** @param position where to start, in bytes. */
  constructor(slot: WriteSlot, fd: number, position: number) {
    this.#slot = slot;
    this.#fd = fd;
    this.#position = position;
    this.#gate = new ResidencyGate(fd);
  }

  get inStream(): number {
    return this.#inStream;
  }

  attempt(count: number): number {
    const socket = this.#slot.descriptor();
    if (socket < 0) return -EBADF;
    if (this.#carryIsCold) return NOT_RESIDENT;
    if (this.#read !== undefined) return WOULD_BLOCK;
    if (this.#full) {
      this.#full = false;
      return WOULD_BLOCK;
    }
    const warm = this.#gate.warm(this.#position, count);
    if (warm === 0) return NOT_RESIDENT;
    const result = syscalls.sendfile(socket, this.#fd, this.#position, warm);
    if (result > 0) {
      this.#advance(result);
      // Not EAGAIN (kernel-rules: short-is-not-eagain), but a reason to ask libuv rather than the kernel: where the
      // socket is not full after all, the wait ends at once, and nothing can hang, because the stream's own write does
      // the waiting.
      this.#full = result < warm;
    }
    return result;
  }

  /** The socket is full: the next few bytes go out by the stream's own write, whose callback says that it drains. */
  wait(count: number, resume: Resume, prefix = ''): void {
    const read = this.#read;
    if (read !== undefined) {
      this.#read = undefined;
      this.#writeCarry(read, Math.min(count, read.length), resume, prefix);
      return;
    }
    this.#carry ??= syscalls.createIovec(Buffer.allocUnsafeSlow(CARRY_SIZE));
    const carry = syscalls.setIovecLength(this.#carry, Math.min(count, CARRY_SIZE));
    const result = uninterrupted(() => syscalls.preadv2(this.#fd, carry, this.#position, RWF_NOWAIT));
    const buffer = carry.target as Buffer;
    if (result >= 0) {
      this.#writeCarry(buffer, result, resume, prefix);
      return;
    }
    // Cold, or a filesystem that cannot say: let the thread pool wait for it, as for an offload, which is never left
    // alone. A wait can end at any moment, and then neither may the descriptor be closed under the read
    // (kernel-rules: fd-reuse), nor what it brings be written.
    this.#carryIsCold = true;
    this.#prefix += prefix;
    resume(null, 0);
  }

  #readCarry(count: number, resume: Resume): void {
    const buffer = this.#carry?.target as Buffer;
    readRetrying(this.#fd, buffer, Math.min(count, CARRY_SIZE), this.#position, (error, bytes) => {
      this.#carryIsCold = false;
      if (error) resume(error, 0);
      else if (bytes === 0) resume(null, SOURCE_ENDED);
      else {
        this.#read = buffer.subarray(0, bytes);
        resume(null, 0);
      }
    });
  }

  #writeCarry(buffer: Buffer, bytes: number, resume: Resume, prefix: string): void {
    if (bytes === 0) return resume(null, SOURCE_ENDED);
    this.#position += bytes;
    this.#inStream = bytes;
    const before = this.#prefix + prefix;
    this.#prefix = '';
    this.#slot.write(withPrefix(before, buffer.subarray(0, bytes)), (error) => {
      this.#inStream = 0;
      if (error) resume(error, 0);
      else resume(null, bytes);
    });
  }

  /** The range is cold: another thread waits for the disk, on a duplicate that outlives the socket if it must. */
  offload(count: number, resume: Resume): void {
    if (this.#carryIsCold) return this.#readCarry(count, resume);
    const socket = this.#slot.descriptor();
    if (socket < 0) return resume(new SyscallError(EBADF, 'sendfile'), 0);
    let duplicate: OwnedDescriptor;
    try {
      duplicate = OwnedDescriptor.duplicate(socket);
    } catch (error) {
      return resume(error as Error, 0);
    }
    const size = Math.min(count, OFFLOAD_SIZE);
    const cell = syscalls.setOffset(syscalls.createOffsetCell(), this.#position);
    sendfileOffThread(
      () => duplicate.fd,
      this.#fd,
      cell,
      size,
      (result) => {
        duplicate.close();
        if (result > 0) {
          this.#advance(result);
          resume(null, result);
        } else if (result === 0) resume(null, SOURCE_ENDED);
        else if (result === -EAGAIN) {
          this.#full = true; // the next attempt waits
          resume(null, 0);
        } else if (result === -EINTR) resume(null, 0);
        else resume(new SyscallError(result, 'sendfile'), 0);
      },
      { position: this.#position, bytes: Math.min(count, READ_AHEAD) },
    );
  }

  successor(errno: number): CarryingEngine | undefined {
    const refusal = refusalOf(SENDFILE_REFUSALS, errno, this.#slot.descriptor(), this.#fd);
    if (refusal === undefined) return undefined;
    return new SlotCopyEngine(this.#slot, this.#fd, this.#position, describeRefusal('sendfile', refusal));
  }

  #advance(bytes: number): void {
    this.#position += bytes;
    this.#slot.moved(bytes);
  }
}
