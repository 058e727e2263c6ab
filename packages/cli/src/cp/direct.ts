/** The bytes of one file past the page cache. */
import { stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { createDirectReadStream, createDirectWriteStream } from '@zerocopy/direct-io';
import type { Moved, Watch } from './bytes.js';
import type { Path } from './paths.js';
import type { CopySettings } from './settings.js';

const PAGE = 4096;
/** Bytes of a request: larger ones take less CPU. */
const REQUEST = 4 * 2 ** 20;
/** Slices of a second in which a limited rate is given its bytes. */
const SLICES = 20;

/** Copies `source`, or the part of it that `settings` ask for, directly where the filesystems can. Holes are filled. */
export async function copyDirect(
  source: Path,
  target: Path,
  { range, rate }: CopySettings,
  { signal, onProgress }: Watch,
): Promise<Moved> {
  if (range?.length === 0) return { bytes: 0, method: 'direct' };
  const { size } = await stat(source);
  const total = Math.min(range?.length ?? size, size - (range?.start ?? 0));
  const slice = rate === undefined ? REQUEST : Math.ceil(rate / SLICES / PAGE) * PAGE;
  const from = createDirectReadStream(source, {
    highWaterMark: Math.min(REQUEST, slice),
    ...(range && { start: range.start, end: range.start + range.length - 1 }),
  });
  const to = createDirectWriteStream(target, { highWaterMark: REQUEST });
  const startedAt = performance.now();
  let handed = 0;
  const paced = async function* (chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      yield chunk;
      handed += chunk.length;
      onProgress(to.bytesWritten, total > 0 ? total : undefined);
      const early = rate === undefined ? 0 : startedAt + (handed / rate) * 1000 - performance.now();
      if (early > 0) await delay(early, undefined, { signal });
    }
  };
  await pipeline(from, paced, to, { signal });
  const reason = [
    from.method === 'copy' && `read through the page cache: ${from.fallbackReason}`,
    to.method === 'copy' && `written through the page cache: ${to.fallbackReason}`,
  ].filter((part) => part !== false);
  const method = reason.length === 0 ? 'direct' : 'copy';
  return { bytes: to.bytesWritten, method, ...(reason.length > 0 && { fallbackReason: reason.join('; ') }) };
}
