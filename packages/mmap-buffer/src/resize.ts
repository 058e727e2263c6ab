/** A mapped file made longer or shorter, and its mapping with it; or, if that fails, both what they were. */
import { ftruncate } from 'node:fs';
import { promisify } from 'node:util';
import type { Mapping } from './mapping.js';
import { closedError, MappingError, truncatedError } from './mapping-error.js';
import { reserveBlocks } from './reserve-blocks.js';
import { tellAlso } from './tell-also.js';

const truncateAsync = promisify(ftruncate);

/**
 * Makes the file, and the mapping, end `length` bytes after the mapping's start.
 * @throws {SyscallError} ENOSPC, EFBIG, EDQUOT. {@link MappingError} ERR_INVALID_STATE unless the mapping ends where the
 * file does; ERR_FILE_TRUNCATED; ERR_MAPPING_CLOSED if it is closed meanwhile.
 */
export async function resizeMapping(mapping: Mapping, length: number): Promise<void> {
  const before = mapping.length;
  if (mapping.truncated) throw truncatedError();
  if (mapping.fileSize() > mapping.offset + before) {
    throw new MappingError('ERR_INVALID_STATE', `the file goes on after the mapping's ${before} bytes: it is not cut`);
  }
  if (length === before) return;
  const letGo = mapping.holdDescriptor();
  try {
    if (length > before) await extend(mapping, length);
    else await cut(mapping, length);
  } finally {
    letGo();
  }
}

async function extend(mapping: Mapping, length: number): Promise<void> {
  const end = mapping.offset + mapping.length;
  await reserveBlocks(mapping.fd, end, length - mapping.length, mapping.path);
  try {
    await truncateAsync(mapping.fd, mapping.offset + length);
    if (mapping.closed) throw closedError();
    await mapping.grow(length);
  } catch (error) {
    await truncateAsync(mapping.fd, end).catch(tellAlso(error, 'the file could not be cut back'));
    throw error;
  }
}

async function cut(mapping: Mapping, length: number): Promise<void> {
  const before = mapping.length;
  try {
    mapping.shrink(length);
    await truncateAsync(mapping.fd, mapping.offset + length);
  } catch (error) {
    try {
      if (!mapping.closed) await mapping.unshrink(before);
    } catch (second) {
      tellAlso(error, `the mapping has become ${mapping.length} bytes, the file has not`)(second);
    }
    throw error;
  }
  if (mapping.closed) throw closedError();
}
