/**
 * The second look at a pair that could be moved by the kernel: loaded with the first of them. Node's own pipe stays; what
 * the routes put on the streams is taken away again at the byte that has been reached.
 */
import type { ReadStream, WriteStream } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { libcStatus } from '@zerocopy/core-syscalls';
import { type FileReader, sharedFs } from '@zerocopy/sendfile-stream/route';
import { addSummary, pipesOf } from '@zerocopy/transfer';
import { routeBody } from './body-route.js';
import { canMove, feature } from './feature.js';
import { bytesAhead } from './file-reader.js';
import { routeFileToFile } from './file-to-file-route.js';
import { routeFile } from './foreign-file-route.js';
import { openBy } from './node-files.js';
import { observeSocket } from './observed-socket.js';
import { PairRecord } from './pair-record.js';
import type { PipeKind } from './pipe-kind.js';
import { countDeclined, statsLines } from './stats.js';

addSummary(statsLines);

let isWarned = false;

/** Why the kernel can do nothing of it, or undefined: told once, unless the operator has asked for it. */
function unavailable(name: 'sendfile' | 'splice'): string | undefined {
  const { available, reason } = feature(name);
  if (available) return undefined;
  // A koffi that is missing has been warned of, where libc was looked for.
  if (!canMove() && !isWarned && !process.env.ZEROCOPY_DISABLE && libcStatus().available) {
    isWarned = true;
    process.emitWarning(`@zerocopy/pipeline: nothing can be moved by the kernel here: ${reason}`, {
      code: 'ZEROCOPY_PIPELINE',
    });
  }
  return `${name}: ${reason}`;
}

/** What is not observed first. */
type RoutedKind = Exclude<PipeKind, 'socket->socket' | 'socket->file'>;

/** Lays a route beneath the pipe that Node has just made, if there is one; counts why not. */
export function consider(
  kind: PipeKind,
  source: Readable,
  destination: NodeJS.WritableStream,
  minBytes: number,
  opensAtOnce: boolean,
): void {
  // By the filter, which is foreign code: what would be moved now is to go elsewhere.
  if (!pipesOf(source)?.includes(destination)) return countDeclined('it has been unpiped');
  if (kind === 'socket->socket' || kind === 'socket->file') {
    const refused =
      refusalOfEnded(source) ??
      unavailable('splice') ??
      observeSocket(source as Socket, destination as Socket | WriteStream, kind);
    if (refused !== undefined) countDeclined(refused);
  } else if (kind.startsWith('body')) lay(kind, source, destination, minBytes);
  else if (opensAtOnce) {
    const isLaid = lay(kind, source, destination, minBytes);
    if (isLaid && kind === 'file->http') openBy(sharedFs, source as ReadStream);
  } else {
    // Most files of most programs are small, and are to be no slower than without us: nothing is put on their streams.
    whenOpen(source as ReadStream, (fd) => {
      if (!pipesOf(source)?.includes(destination)) return;
      if (bytesAhead(source as FileReader, fd) >= minBytes) lay(kind, source, destination, minBytes);
      else countDeclined(`fewer than ${minBytes} bytes are left to Node`);
    });
  }
}

/** @returns whether a route is there. */
function lay(kind: RoutedKind, source: Readable, destination: NodeJS.WritableStream, minBytes: number): boolean {
  const record = new PairRecord(source, kind, kind.startsWith('file') ? 'sendfile' : 'splice');
  const refused = refusalOfEnded(source) ?? route(kind, source, destination, record, minBytes);
  if (refused !== undefined) record.fallBack(refused);
  return refused === undefined;
}

/** Before Node reads the first byte: at once, or when the event comes that comes before. */
function whenOpen(source: ReadStream, then: (fd: number | null) => void): void {
  const { fd } = source as unknown as FileReader;
  if (fd === null && !source.destroyed) source.once('open', then);
  else then(fd);
}

/** It is never read again: what would be put in front of its methods would stay there. */
function refusalOfEnded({ destroyed, readableEnded, errored }: Readable): string | undefined {
  return destroyed || readableEnded || errored ? 'the source has ended' : undefined;
}

function route(
  kind: RoutedKind,
  source: Readable,
  destination: NodeJS.WritableStream,
  record: PairRecord,
  minBytes: number,
): string | undefined {
  switch (kind) {
    case 'file->http':
    case 'file->socket':
    case 'file->stdio':
      return unavailable('sendfile') ?? routeFile(source as FileReader, destination, record, minBytes);
    case 'file->file':
      return unavailable('splice') ?? routeFileToFile(source as FileReader, destination, record, minBytes);
    case 'body->http':
    case 'body->socket':
    case 'body->file':
      return unavailable('splice') ?? routeBody(source as IncomingMessage, destination, record, minBytes);
  }
}
