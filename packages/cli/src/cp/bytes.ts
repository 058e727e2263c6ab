/** The bytes of one file, into one that is there already and that nobody else sees. */
import { constants } from 'node:fs';
import { chmod, open } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { constants as kernel, syscalls, type TransferResult } from '@zerocopy/core-syscalls';
import { copyFile } from '@zerocopy/file-copy';
import { copy } from '@zerocopy/pipeline';
import { copyDirect } from './direct.js';
import type { Path } from './paths.js';
import type { CopySettings } from './settings.js';

/** How a transfer is watched and stopped. */
export interface Watch {
  readonly signal: AbortSignal;
  onProgress(bytes: number, total?: number): void;
}

export type Moved = Pick<TransferResult, 'bytes' | 'method' | 'fallbackReason'>;

/** The mode of a file until it has its own. */
export const OWNER = 0o600;

const BLOCK = 4096;
/** Slices of a second in which a limited rate is given its bytes. */
const SLICES = 20;

/** Copies what `settings` ask for of `source`. */
export async function copyBytes(source: Path, target: Path, settings: CopySettings, watch: Watch): Promise<Moved> {
  const { range, rate, reflink, sparse, cache, direct } = settings;
  const moved = direct
    ? await copyDirect(source, target, settings, watch)
    : range === undefined && rate === undefined
      ? await copyFile(source, target, { reflink, cache, ...watch })
      : await copyPart(source, target, settings, watch);
  await chmod(target, OWNER); // copyFile has given it the mode of the source, which may forbid what is still to be done
  if (sparse !== 'auto') await (sparse === 'always' ? punchZeros(target, watch.signal) : fillHoles(target));
  return moved;
}

/** A part of a file, or all of it, at a limited rate. Holes are filled. */
async function copyPart(source: Path, target: Path, settings: CopySettings, watch: Watch): Promise<Moved> {
  const { start, length } = settings.range ?? { start: 0, length: Number.POSITIVE_INFINITY };
  const { rate } = settings;
  const from = await open(source, constants.O_RDONLY);
  try {
    const to = await open(target, constants.O_WRONLY | constants.O_TRUNC);
    try {
      const { size } = await from.stat();
      // Under /proc a file has no size until it is read (kernel-rules: st-size-lies).
      const total = size === 0 ? length : Math.max(0, Math.min(length, size - start));
      const known = Number.isFinite(total) ? total : undefined;
      const slice = rate === undefined ? Number.POSITIVE_INFINITY : Math.max(1, Math.ceil(rate / SLICES));
      const startedAt = performance.now();
      let last: Moved = { bytes: 0, method: 'copy' };
      let bytes = 0;
      while (bytes < total) {
        const done = bytes;
        const part = Math.min(slice, total - bytes);
        last = await copy(from, to, {
          start: start + bytes,
          ...(Number.isFinite(part) && { length: part }),
          signal: watch.signal,
          onProgress: (more) => watch.onProgress(done + more, known),
        });
        if (last.bytes === 0) break; // it has become shorter
        bytes += last.bytes;
        if (rate === undefined) continue;
        const early = startedAt + (bytes / rate) * 1000 - performance.now();
        if (early > 0) await delay(early, undefined, { signal: watch.signal });
      }
      return { ...last, bytes };
    } finally {
      await to.close();
    }
  } finally {
    await from.close();
  }
}

/** Blocks of zeros become holes, where the filesystem has such. */
async function punchZeros(target: Path, signal: AbortSignal): Promise<void> {
  const file = await open(target, constants.O_RDWR);
  try {
    const buffer = Buffer.alloc(256 * BLOCK);
    const zeros = Buffer.alloc(BLOCK);
    const { FALLOC_FL_PUNCH_HOLE, FALLOC_FL_KEEP_SIZE, EOPNOTSUPP } = kernel;
    for (let position = 0; ; ) {
      signal.throwIfAborted();
      const { bytesRead } = await file.read(buffer, 0, buffer.length, position);
      if (bytesRead === 0) return;
      for (let at = 0; at < bytesRead; at += BLOCK) {
        let end = at;
        while (end < bytesRead && isZero(buffer, end, bytesRead, zeros)) end += BLOCK;
        if (end === at) continue;
        const length = Math.min(end, bytesRead) - at;
        const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
        const result = await fallocate(file.fd, mode, position + at, length);
        if (result === -EOPNOTSUPP) return;
        if (result < 0) throw systemError(result, 'fallocate');
        at = end;
      }
      position += bytesRead;
    }
  } finally {
    await file.close();
  }
}

const isZero = (buffer: Buffer, at: number, end: number, zeros: Buffer): boolean =>
  zeros.compare(buffer, at, Math.min(at + BLOCK, end), 0, Math.min(BLOCK, end - at)) === 0;

/** Every hole gets blocks, which read as zeros. */
async function fillHoles(target: Path): Promise<void> {
  const file = await open(target, constants.O_RDWR);
  try {
    const { size } = await file.stat();
    const result = size === 0 ? 0 : await fallocate(file.fd, 0, 0, size);
    if (result < 0) throw systemError(result, 'fallocate');
  } finally {
    await file.close();
  }
}

const fallocate = (fd: number, mode: number, offset: number, length: number): Promise<number> =>
  new Promise((resolve) => {
    syscalls.fallocateAsync(fd, mode, offset, length, resolve);
  });

const systemError = (errno: number, syscall: string): Error =>
  Object.assign(new Error(`${syscall} failed`), { errno, syscall });
