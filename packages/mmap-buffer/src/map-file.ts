/** Mapping a file: mmap(2), or a copy where that is not possible. */
import { constants, SyscallError, syscalls } from '@zerocopy/core-syscalls';
import { uninterrupted } from '@zerocopy/core-syscalls/native';
import { type MapOptions, planOf } from './map-options.js';
import { MappedFile } from './mapped-file.js';
import { Mapping } from './mapping.js';
import { openMapping, openMappingSync } from './open.js';

const { EFAULT, EINVAL, MADV_POPULATE_READ } = constants;

/**
 * Maps a file. Where that is not possible its bytes are read instead: see {@link MappedFile.method}.
 *
 * @throws Node's own error if it cannot be opened; {@link SyscallError} ENODEV for what is no regular file, EISDIR;
 * RangeError if the file does not hold the range; ERR_ZEROCOPY_UNAVAILABLE if it must be mapped and cannot be.
 * @see https://man7.org/linux/man-pages/man2/mmap.2.html
 */
export async function mapFile(path: string | Buffer | URL, options: MapOptions = {}): Promise<MappedFile> {
  const plan = planOf(path, options);
  const file = new MappedFile(await openMapping(plan), plan.access);
  if (plan.populate) {
    try {
      await file.populate();
    } catch (error) {
      await file.close();
      throw error;
    }
  }
  return file;
}

/**
 * {@link mapFile} at once, whatever it has to wait for. It takes no lease, for which a thread has to be started: 'both' is
 * the trap alone.
 * @throws also ERR_INVALID_ARG_VALUE for `guard: 'lease'`.
 */
export function mapFileSync(path: string | Buffer | URL, options: MapOptions = {}): MappedFile {
  const plan = planOf(path, options);
  if (plan.guard === 'lease') {
    throw Object.assign(new TypeError("mapFileSync takes no leases: use mapFile for guard 'lease'"), {
      code: 'ERR_INVALID_ARG_VALUE',
    });
  }
  const source = openMappingSync(plan);
  if (plan.populate && source instanceof Mapping) {
    const { address, length } = source.pagesOf(0, source.length);
    const result = length === 0 ? 0 : uninterrupted(() => syscalls.madvise(address, length, MADV_POPULATE_READ));
    const answered = result === -EFAULT && source.isTrapped && !source.truncated;
    if (result < 0 && result !== -EINVAL && !answered) {
      source.close();
      throw new SyscallError(result, 'madvise', { path: source.path });
    }
  }
  return new MappedFile(source, plan.access);
}
