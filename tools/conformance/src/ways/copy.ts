/** Files to files, by file-copy: each way it has, whole and with holes, on one filesystem and across two. */
import { closeSync, existsSync, fchmodSync, fstatSync, ftruncateSync, openSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TransferError } from '@zerocopy/core-syscalls';
import type { CopyFileOptions } from '@zerocopy/file-copy';
import { removeDirectory, temporaryDirectory } from '@zerocopy/testing/files';
import { TRIAL } from '../holdings.js';
import { contentOf, numbersOf } from './files.js';
import type { Stage } from './stage.js';
import type { Told, Way } from './way.js';

const MEMORY = '/dev/shm';
/** Whether there is a filesystem in memory that is not the one of temporary files. */
const across = existsSync(MEMORY) && statSync(MEMORY).dev !== statSync(tmpdir()).dev;

interface Copy {
  readonly name: string;
  readonly options?: CopyFileOptions;
  readonly absent?: readonly string[];
  readonly sparse?: boolean;
  readonly elsewhere?: boolean;
  readonly cold?: boolean;
}

/** Where the holes are of a source with two of them: ranges of bytes, the end exclusive. The second is at its end. */
function holesOf(content: Buffer): readonly (readonly [from: number, to: number])[] {
  const part = Math.floor(content.length / 4);
  return [
    [part, 2 * part],
    [3 * part, content.length],
  ];
}

/** The content as a file, except for its holes. */
function sparseFile(stage: Stage): string {
  const path = stage.path();
  const fd = openSync(path, 'w');
  let at = 0;
  for (const [from, to] of holesOf(stage.content)) {
    writeSync(fd, stage.content, at, from - at, at);
    at = to;
  }
  ftruncateSync(fd, stage.content.length);
  closeSync(fd);
  return path;
}

/**
 * The copy of such a file with the content in its holes, where they are zeros: to be compared with the content. Of the
 * holes at its end `bytes` tells how much is done, since the size is set at last.
 */
function withHolesFilled(copy: Buffer, content: Buffer, bytes: number): Buffer {
  const filled = Buffer.alloc(Math.max(copy.length, Math.min(bytes, content.length)));
  copy.copy(filled);
  for (const [from, to] of holesOf(content)) {
    const hole = filled.subarray(from, to);
    if (hole.every((byte) => byte === 0)) content.copy(filled, from, from, Math.min(to, filled.length));
  }
  return filled;
}

const copying = ({ name, options = {}, absent, sparse = false, elsewhere = false, cold = false }: Copy): Way => ({
  name,
  twin: 'fs.copyFile',
  background: { absent, direct: true },
  promised: true,
  victims: cold ? ['copy'] : [],
  async begin(stage) {
    const source = sparse ? sparseFile(stage) : stage.file(cold ? 'cold' : 'warm');
    const directory = elsewhere ? temporaryDirectory(MEMORY, TRIAL) : stage.directory;
    const target = join(directory, 'target');
    // Open beforehand: so it can be looked at after a failure, by which its name goes.
    const fd = openSync(target, 'w+');
    fchmodSync(fd, 0o600); // to be given the source's
    stage.onDispose(() => closeSync(fd));
    if (elsewhere) stage.onDispose(() => removeDirectory(directory));
    let told: Told = {};
    const received = (bytes: number): Buffer =>
      sparse ? withHolesFilled(contentOf(fd), stage.content, bytes) : contentOf(fd);
    stage.receiveFile(target, () => {
      const { error, bytes = 0 } = told;
      return error !== undefined || fstatSync(fd).size === bytes ? received(bytes) : contentOf(fd);
    });
    const controller = new AbortController();
    stage.victim('copy', () => controller.abort());
    const signal = cold ? { signal: controller.signal } : {};
    const over = stage.by.copyFile(source, target, stage.options({ ...options, ...signal })).then(
      ({ bytes, method }): readonly Told[] => {
        told = { bytes, method };
        return [told];
      },
      (error: TransferError): readonly Told[] => {
        // A destination that was there before stays if nothing has been written into it.
        const left = existsSync(target) && fstatSync(fd).size > 0;
        if (error.bytes !== undefined && left && !error.message.includes('could not be removed')) {
          throw new Error(`the copy is still there, and nothing says so: ${error.message}`);
        }
        told = { error, bytes: error.bytes ?? 0 }; // what fails before the first byte fails as in Node, without a count
        return [told];
      },
    );
    const moving = (): boolean => {
      if (stage.fds.length === 0) stage.fds.push(...numbersOf(source));
      return stage.fds.length > 0;
    };
    return { over, moving };
  },
});

const NEVER = { reflink: 'never' } as const;

export const copyWays: readonly Way[] = [
  { name: 'copyFile by copy_file_range' },
  { name: 'copyFile by splice', options: NEVER },
  { name: 'copyFile by read and write', options: NEVER, absent: ['splice'] },
  { name: 'copyFile where the call is missing', absent: ['copy_file_range', 'ioctl'] },
  { name: 'copyFile of a cold file, which can be aborted', options: NEVER, cold: true },
  { name: 'copyFile with holes by copy_file_range', sparse: true },
  { name: 'copyFile with holes by splice', sparse: true, options: NEVER },
  { name: 'copyFile with holes by read and write', sparse: true, options: NEVER, absent: ['splice'] },
  ...(across
    ? [
        { name: 'copyFile to another filesystem', elsewhere: true },
        { name: 'copyFile with holes to another filesystem', sparse: true, elsewhere: true },
      ]
    : []),
].map(copying);
