/** Files to files, by file-copy: each way it has, whole and with holes, on one filesystem and across two. */
import {
  closeSync,
  existsSync,
  fchmodSync,
  fstatSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TransferError } from '@zerocopy/core-syscalls';
import { type CopyFileOptions, copyFile } from '@zerocopy/file-copy';
import { prepare, sourceOf } from './send.js';
import type { Delivery, Setting, Traffic } from './traffic.js';

const MEMORY = '/dev/shm';
/** Whether there is a filesystem in memory that is not the one of temporary files. */
const across = existsSync(MEMORY) && statSync(MEMORY).dev !== statSync(tmpdir()).dev;

interface Copy {
  readonly name: string;
  readonly options?: CopyFileOptions;
  readonly absent?: readonly string[];
  readonly sparse?: boolean;
  readonly elsewhere?: boolean;
}

/** All that is in an open file, also when its name is gone. */
function contentOf(fd: number): Buffer {
  const content = Buffer.alloc(fstatSync(fd).size);
  for (let at = 0; at < content.length; ) {
    const count = readSync(fd, content, at, content.length - at, at);
    if (count === 0) break;
    at += count;
  }
  return content;
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
function prepareSparse(setting: Setting): void {
  const { content } = setting;
  const fd = openSync(sourceOf(setting), 'w');
  let at = 0;
  for (const [from, to] of holesOf(content)) {
    writeSync(fd, content, at, from - at, at);
    at = to;
  }
  ftruncateSync(fd, content.length);
  closeSync(fd);
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

async function run(
  { options = {}, sparse = false, elsewhere = false }: Copy,
  setting: Setting,
): Promise<readonly Delivery[]> {
  const source = sourceOf(setting);
  const directory = elsewhere ? mkdtempSync(join(MEMORY, 'zerocopy-fault-')) : setting.directory;
  const target = join(directory, 'target');
  // Open beforehand: so it can be looked at after a failure, by which its name goes.
  const fd = openSync(target, 'w+');
  fchmodSync(fd, 0o600); // to be given the source's
  const received = (bytes: number): Buffer =>
    sparse ? withHolesFilled(contentOf(fd), setting.content, bytes) : contentOf(fd);
  try {
    const { bytes, method } = await copyFile(source, target, options);
    return [{ received: fstatSync(fd).size === bytes ? received(bytes) : contentOf(fd), bytes, method }];
  } catch (failure) {
    const error = failure as TransferError;
    if (error.bytes !== undefined && existsSync(target) && !error.message.includes('could not be removed')) {
      throw new Error(`the copy is still there, and nothing says so: ${error.message}`);
    }
    const { bytes = 0 } = error; // what fails before the first byte fails as in Node, which knows of no bytes
    return [{ received: received(bytes), error, bytes }];
  } finally {
    closeSync(fd);
    if (elsewhere) rmSync(directory, { recursive: true, force: true });
  }
}

const toTraffic = (copy: Copy): Traffic => ({
  name: copy.name,
  background: { absent: copy.absent, direct: true },
  prepare: copy.sparse === true ? prepareSparse : prepare,
  run: (setting) => run(copy, setting),
});

const ways: readonly Copy[] = [
  { name: 'copyFile by copy_file_range' },
  { name: 'copyFile by splice', options: { reflink: 'never' } },
  { name: 'copyFile by read and write', options: { reflink: 'never' }, absent: ['splice'] },
  { name: 'copyFile where the call is missing', absent: ['copy_file_range', 'ioctl'] },
  { name: 'copyFile with holes by copy_file_range', sparse: true },
  { name: 'copyFile with holes by splice', sparse: true, options: { reflink: 'never' } },
  { name: 'copyFile with holes by read and write', sparse: true, options: { reflink: 'never' }, absent: ['splice'] },
  ...(across
    ? [
        { name: 'copyFile to another filesystem', elsewhere: true },
        { name: 'copyFile with holes to another filesystem', sparse: true, elsewhere: true },
      ]
    : []),
];

export const copyTraffic: readonly Traffic[] = ways.map(toTraffic);
