/**
 * One open file into another, off the event loop, by the best way that both filesystems take:
 *
 *   FICLONE ──► copy_file_range ──► splice through a pipe ──► read and write
 *
 * Each goes on where the one before it stopped. Holes are left out; the caller sets the size at the end.
 */
import { write } from 'node:fs';
import { check, constants, libcStatus, SyscallError, syscalls, type TransferMethod } from '@zerocopy/core-syscalls';
import { withSpareDescriptors } from '@zerocopy/core-syscalls/descriptors';
import { uninterruptedAsync } from '@zerocopy/core-syscalls/native';
import {
  NOT_RESIDENT,
  OwnedDescriptor,
  type Refusal,
  type Resume,
  readRetrying,
  runOffThread,
  SOURCE_ENDED,
  setImmediate,
  type TransferEngine,
} from '@zerocopy/transfer';
import { type Extent, extentAt, zerosIn } from './extents.js';
import { feature } from './feature.js';

const { EACCES, EAGAIN, EINVAL, EIO, ENOSYS, EOPNOTSUPP, EPERM, EXDEV } = constants;
const { FICLONE, F_SETPIPE_SZ, O_CLOEXEC, O_NONBLOCK, SPLICE_F_MOVE, SPLICE_F_NONBLOCK } = constants;
const MiB = 1024 * 1024;
/** Bytes that one copy_file_range is asked for: some milliseconds, which is how soon an abort is obeyed. */
const RANGE_SIZE = 16 * MiB;
/** Bytes of a pipe, and of the buffer that stands in for it. */
const PIPE_SIZE = MiB;

/**
 * What says that it cannot be done this way, and not that it cannot be done (kernel-rules: copy-range-refusals), and why a
 * kernel says so. EPERM and EACCES here do not speak of the files, which are open already with all that a copy needs: the
 * next way is tried, and has the last word.
 */
const COPY_REFUSALS: readonly Refusal[] = [
  {
    errno: EAGAIN,
    reason: 'the filesystem would have to wait',
    learnt: 'splice(2); no filesystem of Linux 6.18 says so',
  },
  {
    errno: EXDEV,
    reason: 'the two are on different filesystems',
    learnt: 'Linux before 5.3, and from 5.19 on between types of filesystems',
  },
  { errno: EINVAL, reason: 'the filesystem has no such call, or the file is no regular one', learnt: 'Go #40731' },
  { errno: EIO, reason: 'a CIFS server does not know it', learnt: 'Go #42334' },
  { errno: EOPNOTSUPP, reason: 'an NFS 4.2 server does not know it', learnt: 'Go #40731' },
  { errno: EPERM, reason: 'a sandbox forbids it, or the filesystem is lustre', learnt: 'seccomp(2); Go #40893' },
  { errno: EACCES, reason: 'a sandbox forbids it, or some FUSE', learnt: 'seccomp(2); Go #42334' },
  { errno: ENOSYS, reason: 'there is no such call here', learnt: 'Linux before 4.5; a seccomp filter' },
];

const isRefusal = (result: number): boolean => COPY_REFUSALS.some(({ errno }) => errno === -result);

/** How often in a row a splice may say EAGAIN, which files have no reason for, before it is taken for a refusal. */
const PATIENCE = 64;

/** What is copied, and what is known of it. */
export interface CopyEngineOptions {
  /** The descriptor that is read. */
  readonly source: number;
  /** The descriptor that is written. */
  readonly destination: number;
  /** Where in the source it begins, in bytes. Default 0. */
  readonly sourceStart?: number;
  /** Where in the destination it begins, in bytes. Default 0. */
  readonly destinationStart?: number;
  /** Of the source, or of the part of it that is copied, in bytes; Infinity: to wherever it ends. */
  readonly size: number;
  /** It has fewer blocks than bytes. */
  readonly sparse: boolean;
  /** Why copy_file_range, which shares blocks where the filesystem can, is not to be tried; undefined: it is. */
  readonly unshared: string | undefined;
  /** Whether FICLONE is tried first; 'always': or else the copy fails. */
  readonly clone: boolean | 'always';
  /** Why the bytes go through memory, to a device, which has no positions; undefined: the destination is a file. */
  readonly sequential: string | undefined;
  /** Before the first byte. */
  prepare(): Promise<void>;
  /** After the last byte, before the copy counts as done. */
  finish(bytes: number): Promise<void>;
}

interface Pipe {
  readonly readEnd: OwnedDescriptor;
  readonly writeEnd: OwnedDescriptor;
  /** Bytes in it. */
  held: number;
}

/** See above. */
export class CopyEngine implements TransferEngine {
  readonly syscall = 'copyfile';
  readonly #options: CopyEngineOptions;
  #method: 'reflink' | 'copy_file_range' | 'splice' | 'copy';
  #prepared = false;
  #calls = 0;
  #reason: string | undefined;
  /** From the start of what is copied. */
  #position = 0;
  readonly #sourceStart: number;
  readonly #destinationStart: number;
  /** What the position is in, if that is known. */
  #extent: Extent | undefined;
  readonly #cellIn = syscalls.createOffsetCell();
  readonly #cellOut = syscalls.createOffsetCell();
  #pipe: Pipe | undefined;
  #buffer: Buffer | undefined;
  /** EAGAINs in a row. */
  #refusedForNow = 0;

  /** Nothing is done before the first attempt. */
  constructor(options: CopyEngineOptions) {
    this.#options = options;
    this.#sourceStart = options.sourceStart ?? 0;
    this.#destinationStart = options.destinationStart ?? 0;
    const { unshared, sequential } = options;
    if (sequential !== undefined) {
      this.#method = 'copy';
      this.#reason = sequential;
    } else this.#method = unshared === undefined ? this.#first() : this.#orCopy('splice', unshared);
  }

  /** Steps that moved bytes, and refusals on the way. */
  get calls(): number {
    return this.#calls;
  }

  get method(): TransferMethod {
    return this.#method;
  }

  get reason(): string | undefined {
    return this.#method === 'copy' ? this.#reason : undefined;
  }

  /** Every one of these calls may wait for a disk. */
  attempt(): number {
    return NOT_RESIDENT;
  }

  wait(): never {
    throw new Error('files are always ready');
  }

  offload(count: number, resume: Resume): void {
    const step = this.#finishing(resume);
    if (this.#prepared) return this.#go(count, step);
    this.#prepared = true;
    const failed = (error: Error): void => resume(error, 0);
    this.#options.prepare().then(() => {
      if (this.#options.clone === false) this.#go(count, step);
      else this.#clone(count, step);
    }, failed);
  }

  /** After the last byte the copy is finished before that is told. */
  #finishing(resume: Resume): Resume {
    return (error, bytes) => {
      const isLast = bytes === SOURCE_ENDED || this.#position >= this.#options.size;
      if (error !== null || !isLast) return resume(error, bytes);
      this.#options.finish(this.#position).then(
        () => resume(null, bytes),
        (failed: Error) => resume(failed, Math.max(0, bytes)),
      );
    };
  }

  #go(count: number, resume: Resume): void {
    const { sparse, source, size } = this.#options;
    this.#calls++;
    if (!sparse) this.#copy(count, resume);
    else if (this.#extent !== undefined && this.#position < this.#extent.end)
      this.#inExtent(this.#extent, count, resume);
    else {
      extentAt(source, this.#position, size, (extent) => {
        this.#extent = extent;
        this.#inExtent(extent, count, resume);
      });
    }
  }

  /** All of it at once: the blocks are shared, whatever their number. */
  #clone(count: number, resume: Resume): void {
    const { source, destination, size, clone } = this.#options;
    const ficlone = (done: (result: number) => void): void => syscalls.ioctlAsync(destination, FICLONE, source, done);
    // Where copy_file_range is turned off reflinks are too: it makes them as well.
    const { available } = feature('copyFileRange');
    runOffThread(
      (done) => (available ? uninterruptedAsync(ficlone, done) : done(-ENOSYS)),
      (result) => {
        if (result === 0) {
          this.#calls++;
          this.#method = 'reflink';
          this.#reason = undefined;
          if (Number.isFinite(size)) this.#moved(size, resume);
          else resume(null, SOURCE_ENDED);
        } else if (clone === 'always') resume(new SyscallError(result, 'ioctl(FICLONE)'), 0);
        else this.#go(count, resume);
      },
    );
  }

  /** Closes what has been made here; the two descriptors are the caller's. To be called at the end. */
  close(): void {
    this.#pipe?.readEnd.close();
    this.#pipe?.writeEnd.close();
    this.#pipe = undefined;
  }

  #inExtent({ hole, end }: Extent, count: number, resume: Resume): void {
    const left = Math.min(count, end - this.#position);
    if (!hole) return this.#copy(left, resume);
    this.#position += left;
    resume(null, left);
  }

  #first(): 'copy_file_range' | 'splice' | 'copy' {
    const { available, reason } = feature('copyFileRange');
    return available ? 'copy_file_range' : this.#orCopy('splice', `copy_file_range: ${reason}`);
  }

  #orCopy(method: 'splice', before: string): 'splice' | 'copy' {
    const { available, reason } = feature('splice');
    if (available) return method;
    this.#reason = `${before}; splice: ${reason}`;
    return 'copy';
  }

  #copy(count: number, resume: Resume): void {
    if (this.#method === 'copy_file_range') this.#copyRange(count, resume);
    else if (this.#method === 'splice') this.#splice(count, resume);
    else this.#readAndWrite(count, resume);
  }

  #moved(bytes: number, resume: Resume): void {
    this.#position += bytes;
    resume(null, bytes);
  }

  #copyRange(count: number, resume: Resume): void {
    const { source, destination, size } = this.#options;
    syscalls.setOffset(this.#cellIn, this.#sourceStart + this.#position);
    syscalls.setOffset(this.#cellOut, this.#destinationStart + this.#position);
    const length = Math.min(count, RANGE_SIZE);
    const copy = (done: (result: number) => void): void =>
      syscalls.copyFileRangeAsync(source, this.#cellIn, destination, this.#cellOut, length, done);
    runOffThread(
      (done) => uninterruptedAsync(copy, done),
      (result) => {
        if (result > 0) this.#moved(result, resume);
        // 0 where there should be bytes: the end; or a filesystem that makes its files up as they are read.
        else if (result === 0 && this.#position > 0 && Number.isFinite(size)) resume(null, SOURCE_ENDED);
        else if (result === 0 || isRefusal(result)) {
          const why = result === 0 ? 'it copied nothing' : new SyscallError(result, 'copy_file_range').code;
          this.#method = this.#orCopy('splice', `copy_file_range: ${why}`);
          resume(null, 0);
        } else resume(new SyscallError(result, 'copy_file_range'), 0);
      },
    );
  }

  #splice(count: number, resume: Resume): void {
    try {
      this.#pipe ??= openPipe();
    } catch (error) {
      this.#readInstead(`there is no pipe (${(error as SyscallError).code})`, resume);
      return;
    }
    const pipe = this.#pipe;
    const { source } = this.#options;
    syscalls.setOffset(this.#cellIn, this.#sourceStart + this.#position);
    const length = Math.min(count, PIPE_SIZE);
    const flags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;
    const fill = (done: (result: number) => void): void =>
      syscalls.spliceAsync(source, this.#cellIn, pipe.writeEnd.fd, null, length, flags, done);
    runOffThread(
      (done) => uninterruptedAsync(fill, done),
      (result) => {
        if (result > 0) {
          pipe.held = result;
          this.#drain(pipe, 0, resume);
        } else if (this.#mayTryAgain(result)) setImmediate(resume, null, 0);
        else if (result === 0 && this.#position > 0) resume(null, SOURCE_ENDED);
        else if (result === 0) this.#readInstead('splice: it moved nothing', resume);
        else if (isRefusal(result)) {
          this.#readInstead(`splice: ${new SyscallError(result, 'splice').code}`, resume);
        } else resume(new SyscallError(result, 'splice'), 0);
      },
    );
  }

  #drain(pipe: Pipe, drained: number, resume: Resume): void {
    const { destination } = this.#options;
    syscalls.setOffset(this.#cellOut, this.#destinationStart + this.#position + drained);
    const drain = (done: (result: number) => void): void =>
      syscalls.spliceAsync(pipe.readEnd.fd, null, destination, this.#cellOut, pipe.held, SPLICE_F_MOVE, done);
    runOffThread(
      (done) => uninterruptedAsync(drain, done),
      (result) => {
        if (result > 0) {
          this.#refusedForNow = 0;
          pipe.held -= result;
          if (pipe.held > 0) this.#drain(pipe, drained + result, resume);
          else this.#moved(drained + result, resume);
        } else if (this.#mayTryAgain(result)) setImmediate(() => this.#drain(pipe, drained, resume));
        else if (isRefusal(result)) {
          this.close(); // what it holds is read again
          this.#position += drained;
          this.#readInstead(`splice: ${new SyscallError(result, 'splice').code}`, (error) => resume(error, drained));
        } else {
          this.#position += drained;
          resume(new SyscallError(result === 0 ? EIO : result, 'splice'), drained);
        }
      },
    );
  }

  #mayTryAgain(result: number): boolean {
    if (result !== -EAGAIN) return false;
    this.#refusedForNow++;
    return this.#refusedForNow <= PATIENCE;
  }

  #readInstead(why: string, resume: Resume): void {
    this.#method = 'copy';
    this.#reason = why;
    resume(null, 0);
  }

  #readAndWrite(count: number, resume: Resume): void {
    this.#buffer ??= Buffer.allocUnsafeSlow(PIPE_SIZE);
    const buffer = this.#buffer;
    readRetrying(
      this.#options.source,
      buffer,
      Math.min(count, PIPE_SIZE),
      this.#sourceStart + this.#position,
      (error, bytes) => {
        if (error) resume(error, 0);
        else if (bytes === 0) resume(null, SOURCE_ENDED);
        else this.#writeAll(buffer, 0, bytes, resume);
      },
    );
  }

  #writeAll(buffer: Buffer, from: number, to: number, resume: Resume): void {
    const looks = this.#options.sparse && !libcStatus().available;
    const { hole, end } = looks ? zerosIn(buffer, from, to) : { hole: false, end: to };
    if (hole && end === to) return this.#moved(to, resume);
    if (hole) return this.#writeAll(buffer, end, to, resume);
    const at = this.#options.sequential === undefined ? this.#destinationStart + this.#position + from : null;
    write(this.#options.destination, buffer, from, end - from, at, (error, written) => {
      if (error) {
        this.#position += from;
        resume(error, from);
      } else if (from + written < to) this.#writeAll(buffer, from + written, to, resume);
      else this.#moved(to, resume);
    });
  }
}

function openPipe(): Pipe {
  const ends = new Int32Array(2);
  check(
    withSpareDescriptors(() => syscalls.pipe2(ends, O_CLOEXEC | O_NONBLOCK)),
    'pipe2',
  );
  const [readEnd, writeEnd] = [OwnedDescriptor.adopt(ends[0] as number), OwnedDescriptor.adopt(ends[1] as number)];
  syscalls.fcntl(writeEnd.fd, F_SETPIPE_SZ, PIPE_SIZE); // best effort: it works with any size (kernel-rules: pipe-quota)
  return { readEnd, writeEnd, held: 0 };
}
