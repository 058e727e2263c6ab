/** Files of ways: cold ones, what is in an open one, and which descriptors are open on one. */
import { fstatSync, linkSync, readdirSync, readlinkSync, readSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryDirectory } from '@zerocopy/testing/files';
import { makeCold } from './kernel-objects.js';

/** Where a content lies on the disk, to which it is written once, since that takes long. */
const onDisk = new WeakMap<Buffer, string>();

/** A file that is on the disk, and nowhere in memory. */
export function makeColdFile(path: string, content: Buffer): void {
  let durable = onDisk.get(content);
  if (durable === undefined) {
    durable = join(temporaryDirectory(undefined, 'cold'), 'source');
    writeFileSync(durable, content, { flush: true });
    onDisk.set(content, durable);
  }
  linkSync(durable, path);
  makeCold(path);
}

/** The descriptors that are open on a file. */
export function numbersOf(path: string): number[] {
  return readdirSync('/proc/self/fd')
    .map(Number)
    .filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`) === path;
      } catch {
        return false; // that of the listing itself
      }
    });
}

/** All that is in an open file, also when its name is gone. */
export function contentOf(fd: number): Buffer {
  const content = Buffer.alloc(fstatSync(fd).size);
  for (let at = 0; at < content.length; ) {
    const count = readSync(fd, content, at, content.length - at, at);
    if (count === 0) break;
    at += count;
  }
  return content;
}
