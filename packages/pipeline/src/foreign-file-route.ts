/** A file of other code beneath a pipe: sent by the kernel, if the descriptor means to it what it means to node:fs. */
import fs from 'node:fs';
import {
  type FileReader,
  FileRoute,
  isOpenedAtOnce,
  resolveDestination,
  SMALL_FILE_SIZE,
} from '@zerocopy/sendfile-stream/route';
import {
  FREE_READER_METHODS,
  isKernelDescriptor,
  NOT_KERNELS,
  READER_METHODS,
  refusalOfReader,
} from './file-reader.js';
import type { PairRecord } from './pair-record.js';

class ForeignFileRoute extends FileRoute {
  #isChecked = false;

  protected override begin(): string | undefined {
    if (!this.#isChecked) {
      const refused = refusalOfReader(this.source, READER_METHODS);
      if (refused !== undefined) return refused;
      const fd = this.source.fd as number;
      if (!isOpenedAtOnce(fd) && !isKernelDescriptor(fd)) return NOT_KERNELS;
      this.#isChecked = true;
    }
    return super.begin();
  }
}

/** Lays the route. @returns why not. */
export function routeFile(
  source: FileReader,
  destination: NodeJS.WritableStream,
  record: PairRecord,
  minBytes: number,
): string | undefined {
  const resolved = resolveDestination(destination);
  if ('refused' in resolved) return resolved.refused;
  if (!(source instanceof fs.ReadStream)) return 'the source only looks like an fs.ReadStream';
  const refused = refusalOfReader(source, FREE_READER_METHODS);
  if (refused !== undefined) return refused;
  let seen = 0;
  const route = new ForeignFileRoute(source, destination, {
    record,
    announces: false,
    ends: false,
    lent: true,
    smallFileSize: SMALL_FILE_SIZE, // where so few bytes are taken at all
    minBytes,
    followsGrowth: true,
    onProgress(bytes) {
      record.moved(bytes > seen ? bytes - seen : bytes);
      seen = bytes;
    },
  });
  route.attach();
  return undefined;
}
