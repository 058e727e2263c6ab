/** What `copy` does: loaded by its first call. */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { SyscallError, constants as system, type TransferResult } from '@zerocopy/core-syscalls';
import { fileIdentity, fileStatus, isRegularFile } from '@zerocopy/core-syscalls/descriptors';
import { copyFile } from '@zerocopy/file-copy';
import { sendFile } from '@zerocopy/sendfile-stream';
import { splice } from '@zerocopy/splice-pipe';
import {
  abortError,
  endKindOf,
  invalidArgument,
  isFileHandle,
  isPath,
  pathText,
  readOptions,
  TransferScope,
  validateBytes,
  validateFunction,
  validateRange,
  validateSignal,
} from '@zerocopy/transfer';
import type { CopyDestination, CopyOptions, CopySource } from './copy.js';

type Path = string | Buffer | URL;

export async function copy(
  source: CopySource,
  destination: CopyDestination,
  given: CopyOptions,
): Promise<TransferResult> {
  const options = readOptions<CopyOptions>(given, ['start', 'end', 'length', 'signal', 'onProgress']);
  validate(options);
  validateDestination(destination);
  if (options.signal?.aborted) throw abortError(options.signal, 0);
  const { start, end, length } = options;
  const isWhole = start === undefined && end === undefined && length === undefined;
  if (isPath(source) && isPath(destination) && isWhole) return copyFile(source, destination, withoutUndefined(options));
  if (!isPath(destination)) return move(source, destination, options);
  // Opened before the destination is: what cannot be read cuts nothing off.
  const from = isPath(source) ? await open(source) : undefined;
  try {
    const to = await openUnlessSame(destination, from ?? (source as Exclude<CopySource, Path>));
    try {
      if (from === undefined) return await move(source, to, options);
      return await move(from, to, isFile(from) ? { start: 0, ...options } : options);
    } finally {
      await to.close();
    }
  } finally {
    await from?.close();
  }
}

function validateDestination(value: unknown): void {
  const { write, on } = Object(value) as { write?: unknown; on?: unknown };
  if (isPath(value) || typeof value === 'number' || (typeof write === 'function' && typeof on === 'function')) return;
  throw invalidArgument('destination', 'a path, a Writable, an HTTP message, a FileHandle or a descriptor', value);
}

function validate({ start, end, length, signal, onProgress }: CopyOptions): void {
  validateRange(start, end);
  validateBytes(length, 'length');
  validateSignal(signal);
  validateFunction(onProgress, 'onProgress');
  if (end !== undefined && length !== undefined)
    throw invalidValue("The options 'end' and 'length' cannot both be given");
}

const invalidValue = (message: string): TypeError =>
  Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_VALUE' });

const withoutUndefined = ({ signal, onProgress }: CopyOptions): Pick<CopyOptions, 'signal' | 'onProgress'> => ({
  ...(signal && { signal }),
  ...(onProgress && { onProgress }),
});

/** By a file or, of anything else, as a stream of bytes without a beginning. */
function move(
  source: CopySource,
  destination: Exclude<CopyDestination, Path>,
  options: CopyOptions,
): Promise<TransferResult> {
  const { start, end, length } = options;
  const common = withoutUndefined(options);
  if (isFile(source)) {
    if (length === 0) return Promise.resolve(nothing(destination));
    // A descriptor is read from its own position unless `start` says otherwise: then its last byte is not known here.
    if (length === undefined || start !== undefined || isPath(source)) {
      const last = length === undefined ? end : (start ?? 0) + length - 1;
      const range = { ...(start !== undefined && { start }), ...(last !== undefined && { end: last }) };
      return sendFile(destination, source, { ...common, ...range, endMessage: false });
    }
  } else if (start !== undefined || end !== undefined) {
    return Promise.reject(invalidValue("The options 'start' and 'end' are for files"));
  }
  return splice(source as Exclude<CopySource, Path>, destination, {
    ...common,
    ...(length !== undefined && { length }),
  });
}

/** Whether it is something with positions: a path, or a descriptor of a regular file. */
function isFile(source: CopySource): source is Path | number | FileHandle {
  if (isPath(source)) return true;
  if (typeof source !== 'number' && !isFileHandle(source)) return false;
  return orUndefined(() => isRegularFile(fileStatus(numberOf(source)))) === true;
}

const numberOf = (source: number | FileHandle): number => (typeof source === 'number' ? source : source.fd);

function orUndefined<T>(ask: () => T): T | undefined {
  try {
    return ask();
  } catch {
    return undefined; // not open: whoever uses it says so
  }
}

/** A transfer like any other, and published. */
function nothing(destination: Exclude<CopyDestination, Path>): TransferResult {
  const result: TransferResult = {
    bytes: 0,
    method: 'copy',
    fallbackReason: 'nothing was asked for',
    syscalls: 0,
    durationMs: 0,
  };
  const kind = typeof destination === 'number' || isFileHandle(destination) ? undefined : endKindOf(destination);
  new TransferScope({ length: 0, source: 'file', destination: kind }).succeed(result);
  return result;
}

/** Opens a file to be written, empty: unless it is the one that is read, which would be lost. */
async function openUnlessSame(path: Path, source: Exclude<CopySource, Path>): Promise<FileHandle> {
  const read =
    typeof source === 'number' || isFileHandle(source) ? orUndefined(() => fileIdentity(numberOf(source))) : undefined;
  const to = await open(path, constants.O_WRONLY | constants.O_CREAT);
  try {
    const { size } = await to.stat();
    if (read !== undefined && read === fileIdentity(to.fd)) {
      throw new SyscallError(system.EINVAL, 'copy', { path: pathText(path) });
    }
    if (size > 0) await to.truncate(0);
    return to;
  } catch (error) {
    await to.close();
    throw error;
  }
}
