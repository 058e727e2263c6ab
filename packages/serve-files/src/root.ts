/** The directory that is served, and the only way to a file in it. */
import { constants as os } from 'node:os';
import { SyscallError } from '@zerocopy/core-syscalls';
import type { FileStatus } from './file-status.js';
import type { Maybe } from './maybe.js';
import type { OpenedFile } from './opened-file.js';

/**
 * Which symbolic links are followed. `beneath`: relative ones that stay beneath the root, at every step. `none`: none.
 * `follow`: all. Magic links (those of /proc) never are.
 */
export type SymlinkPolicy = 'beneath' | 'none' | 'follow';

/** What a path leads to; 'nothing' is also what is neither a regular file nor a directory, and what may not be read. */
export type Found = OpenedFile | 'directory' | 'nothing';

/** An entry of a directory, that the root's rules let one see. */
export interface Entry {
  readonly name: string;
  readonly status: FileStatus;
}

/** Paths are relative to the root, with `/` between names, without empty names, `.` and `..`; '' is the root itself. */
export interface Root {
  /** Absolute. */
  readonly path: string;
  /** Opens a regular file. @throws {OpenError} */
  open(path: string): Maybe<Found>;
  /** What a path leads to, without opening it; undefined for 'nothing'. @throws {OpenError} */
  look(path: string): Maybe<FileStatus | undefined>;
  /**
   * Fills a buffer of STATX_SIZE bytes with the status of what a path leads to by the root's rules, without waiting for
   * anything. @returns false if it leads to nothing, or if that cannot be told at once.
   */
  statAtOnce(path: string, buffer: Buffer): boolean;
  /** The entries of a directory for whose names `wanted` says so, at most `max`, in no order; undefined if it is none. */
  list(path: string, wanted: (name: string) => boolean, max: number): Promise<readonly Entry[] | undefined>;
}

/** Opening failed for a reason that lies with the server. Its message names no path. */
export class OpenError extends Error {
  /** The system's, for instance 'EMFILE' or 'EIO'; ERR_UNKNOWN where what was thrown had none. */
  readonly code: string;
  /** 503: too many files are open, or too many requests wait for a server; else 500. */
  readonly status: 500 | 503;

  /** @param code the system's. @param cause what was thrown, if anything was. */
  constructor(code: string, cause?: unknown) {
    super(`a file could not be opened (${code})`, { cause });
    this.name = 'OpenError';
    this.code = code;
    this.status = OVERLOADED.has(code) ? 503 : 500;
  }

  /** The same, by the name that Fastify and connect look for. */
  get statusCode(): 500 | 503 {
    return this.status;
  }
}

/** EAGAIN: too many calls wait for a server (waiting-lane). */
const OVERLOADED: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN']);

/**
 * Answers that mean that there is nothing to serve. EXDEV: out of the root. ELOOP: too many links, or one where none may
 * be. EACCES, EPERM: what this process may not read is not told from what does not exist. ENXIO, ENODEV: a device or a
 * socket. EINVAL, EILSEQ: a name that its filesystem does not have. ESTALE: removed on its server.
 */
const NOTHING: readonly string[] = [
  'ENOENT',
  'ENOTDIR',
  'ENAMETOOLONG',
  'ELOOP',
  'EXDEV',
  'EACCES',
  'EPERM',
  'ENXIO',
  'ENODEV',
  'EINVAL',
  'EILSEQ',
  'ESTALE',
];
const NOTHING_CODES: ReadonlySet<string> = new Set([...NOTHING, 'ERR_ACCESS_DENIED']);
const NOTHING_ERRNOS: ReadonlySet<number> = new Set(
  NOTHING.map((code) => (os.errno as Readonly<Record<string, number | undefined>>)[code]).filter(
    (errno) => errno !== undefined,
  ),
);

/** For the negative errno of a call. @throws {OpenError} unless it means that there is nothing. */
export function assertNothing(result: number): void {
  if (!NOTHING_ERRNOS.has(-result)) throw new OpenError(new SyscallError(result, 'openat2').code);
}

/** For what node:fs has thrown. @throws {OpenError} unless it means that there is nothing. */
export function assertNothingThrown(error: unknown): void {
  const code = String((error as NodeJS.ErrnoException | null)?.code ?? 'ERR_UNKNOWN');
  if (!NOTHING_CODES.has(code)) throw new OpenError(code, error);
}

export const join = (directory: string, name: string): string => (directory === '' ? name : `${directory}/${name}`);
