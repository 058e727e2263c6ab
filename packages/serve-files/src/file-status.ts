/** What is known of a file at the moment it was opened, at the precision of the kernel. */
import type { BigIntStats } from 'node:fs';
import { syscalls } from '@zerocopy/core-syscalls';
import { isDirectory, isRegularFile } from '@zerocopy/core-syscalls/descriptors';

/** Of node:crypto, which a server that needs no digests does not load. */
let hash: typeof import('node:crypto').hash | undefined;
/** Base64url digits of a digest: 96 bits. */
const DIGEST_DIGITS = 16;

/** The facts about a file that options which are functions are given. As of node:fs, but read-only. */
export interface FileStat {
  /** Bytes. */
  readonly size: number;
  /** File type and permissions, as of stat(2). */
  readonly mode: number;
  /** Last modification, in milliseconds since 1970. */
  readonly mtimeMs: number;
  /** Last change of content, name or permissions, in milliseconds since 1970. */
  readonly ctimeMs: number;
  /** Last modification. */
  readonly mtime: Date;
}

/**
 * The status of a file, with its identity: bytes that are the same as long as it is the same file and nobody has changed
 * it. Device, inode, size, mode, and the times of the last change and modification in nanoseconds (the layout of
 * `copyStatxIdentity`).
 */
export class FileStatus implements FileStat {
  readonly identity: Buffer;
  readonly size: number;
  readonly mode: number;
  /** Units of 512 bytes; 0 for a file whose size may be made up (kernel-rules: st-size-lies). */
  readonly blocks: number;
  #digest: string | undefined;

  private constructor(identity: Buffer, size: number, mode: number, blocks: number) {
    this.identity = identity;
    this.size = size;
    this.mode = mode;
    this.blocks = blocks;
  }

  /** Of a buffer that statx(2) has filled; it may be used again afterwards. */
  static fromStatx(buffer: Buffer): FileStatus {
    const identity = Buffer.allocUnsafe(syscalls.STATX_IDENTITY_SIZE);
    syscalls.copyStatxIdentity(buffer, identity);
    const { size, mode, blocks } = syscalls.readStatx(buffer);
    return new FileStatus(identity, size, mode, blocks);
  }

  /** Whether a buffer that statx(2) has filled tells of the same file, which nobody has changed in between. */
  isOfStatx(buffer: Buffer): boolean {
    return syscalls.hasStatxIdentity(buffer, this.identity);
  }

  /** Whether a buffer that statx(2) has filled tells of the same file, changed since or not. */
  isSameFileAs(buffer: Buffer): boolean {
    const { identity } = this;
    return syscalls.isSameStatxFile(buffer, identity);
  }

  /** Of what node:fs tells, where there is no statx(2). */
  static fromStats(stats: BigIntStats): FileStatus {
    const identity = Buffer.alloc(syscalls.STATX_IDENTITY_SIZE);
    identity.writeBigUInt64LE(BigInt.asUintN(64, stats.ino), 0);
    identity.writeBigUInt64LE(stats.size, 8);
    writeTime(identity, stats.ctimeNs, 16);
    writeTime(identity, stats.mtimeNs, 32);
    identity.writeBigUInt64LE(BigInt.asUintN(64, stats.dev), 48);
    identity.writeUInt32LE(Number(stats.mode), 56);
    return new FileStatus(identity, Number(stats.size), Number(stats.mode), Number(stats.blocks));
  }

  get isFile(): boolean {
    return isRegularFile(this);
  }

  get isDirectory(): boolean {
    return isDirectory(this);
  }

  /** Of the identity: inode and device are not to be read from it. */
  get digest(): string {
    hash ??= process.getBuiltinModule('node:crypto').hash;
    this.#digest ??= hash('sha1', this.identity, 'base64url').slice(0, DIGEST_DIGITS);
    return this.#digest;
  }

  get mtimeMs(): number {
    return timeAt(this.identity, 32);
  }

  get ctimeMs(): number {
    return timeAt(this.identity, 16);
  }

  get mtime(): Date {
    return new Date(this.mtimeMs);
  }

  /** Whether both are of one device. */
  onSameDevice(other: FileStatus): boolean {
    const { identity } = other;
    return (
      this.identity.readUInt32LE(48) === identity.readUInt32LE(48) &&
      this.identity.readUInt32LE(52) === identity.readUInt32LE(52)
    );
  }

  /** Whether both are of one file, changed since or not. */
  isSameFile(other: FileStatus): boolean {
    return this.onSameDevice(other) && this.identity.compare(other.identity, 0, 8, 0, 8) === 0;
  }

  /** Whether both are of one file that has not been changed in between. */
  isUnchanged(other: FileStatus): boolean {
    return this.identity.equals(other.identity);
  }
}

const NANOSECONDS = 1_000_000_000n;

function writeTime(target: Buffer, time: bigint, at: number): void {
  const seconds = time / NANOSECONDS - (time % NANOSECONDS < 0n ? 1n : 0n);
  target.writeBigInt64LE(seconds, at);
  target.writeUInt32LE(Number(time - seconds * NANOSECONDS), at + 8);
}

function timeAt(identity: Buffer, at: number): number {
  const seconds = identity.readInt32LE(at + 4) * 2 ** 32 + identity.readUInt32LE(at);
  return seconds * 1000 + identity.readUInt32LE(at + 8) / 1e6;
}
