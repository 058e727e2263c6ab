/** A file of other code beneath a pipe: sent by the kernel, if the descriptor means to it what it means to node:fs. */
import fs from 'node:fs';
import {
  type FileReader,
  FileRoute,
  type FileRouteOptions,
  isOpenedAtOnce,
  resolveDestination,
  SMALL_FILE_SIZE,
} from '@zerocopy/sendfile-stream/route';
import { bodyFraming, isOutgoingMessage } from '@zerocopy/transfer';
import {
  bytesAhead,
  FREE_READER_METHODS,
  isKernelDescriptor,
  NOT_KERNELS,
  READER_METHODS,
  refusalOfReader,
} from './file-reader.js';
import type { PairRecord } from './pair-record.js';

/** Bytes from which on copying beneath the pipe costs less than Node's own: measured over TLS. */
const COPIED_MIN_BYTES = 128 * 1024;

const fewBytes = (least: number): string => `fewer than ${least} bytes are left to Node`;

/** What a message may still get at most, by its Content-Length; Infinity where that is not known. */
function announcedBytes(destination: NodeJS.WritableStream): number {
  const framing = isOutgoingMessage(destination) ? bodyFraming(destination) : undefined;
  return framing?.kind === 'length' ? framing.bytes : Number.POSITIVE_INFINITY;
}

class ForeignFileRoute extends FileRoute {
  readonly #minBytes: number;
  #isChecked = false;

  constructor(source: FileReader, destination: NodeJS.WritableStream, options: FileRouteOptions) {
    super(source, destination, options);
    this.#minBytes = options.minBytes ?? 1;
  }

  protected override begin(): string | undefined {
    if (!this.#isChecked) {
      const fd = this.source.fd as number;
      const isKernels = isOpenedAtOnce(fd);
      // Of one that is known to be the kernel's the route itself asks how much there is.
      if (!isKernels && bytesAhead(this.source, fd) < this.#minBytes) return fewBytes(this.#minBytes);
      const refused = refusalOfReader(this.source, READER_METHODS);
      if (refused !== undefined) return refused;
      if (!isKernels && !isKernelDescriptor(fd, this.source.path)) return NOT_KERNELS;
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
  const isCopied = 'socket' in resolved && resolved.copied !== undefined;
  const least = isCopied ? Math.max(minBytes, COPIED_MIN_BYTES) : minBytes;
  // Known before anything is put on the stream: a stream that it is taken off again costs more from then on.
  if (announcedBytes(destination) < least) return fewBytes(least);
  if (isCopied && source.fd !== null && bytesAhead(source, source.fd) < least) return fewBytes(least);
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
    minBytes: least,
    followsGrowth: true,
    onProgress(bytes) {
      record.moved(bytes > seen ? bytes - seen : bytes);
      seen = bytes;
    },
  });
  route.attach();
  return undefined;
}
