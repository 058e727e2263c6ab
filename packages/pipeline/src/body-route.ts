/** The body of an HTTP/1 message, of a request or of a response, beneath a pipe. */
import type { WriteStream } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { contentLength, isFileWriter, isRequest, routeBeneath } from '@zerocopy/splice-pipe/route';
import { replacedMethod } from '@zerocopy/transfer';
import { FREE_READER_METHODS } from './file-reader.js';
import { refusalOfWriterFs } from './node-files.js';
import type { PairRecord } from './pair-record.js';

/** Lays the route. @returns why not. */
export function routeBody(
  source: IncomingMessage,
  destination: NodeJS.WritableStream,
  record: PairRecord,
  minBytes: number,
): string | undefined {
  if (!isRequest(source)) return 'the source only looks like an HTTP message';
  if (source.httpVersionMajor !== 1) return 'the request is not HTTP/1 on a socket';
  const length = contentLength(source);
  if (Number.isNaN(length)) return 'the body has no Content-Length (a chunked body)';
  if (length < minBytes) return `fewer than ${minBytes} bytes are left to Node`;
  const replaced = replacedMethod(source, FREE_READER_METHODS);
  if (replaced !== undefined) return `${replaced}() of the source has been replaced`;
  if (isFileWriter(destination)) {
    const refused = refusalOfWriterFs(destination as unknown as WriteStream);
    if (refused !== undefined) return refused;
  }
  const route = routeBeneath(source, destination, { record, onMoved: (bytes) => record.moved(bytes) });
  return 'refused' in route ? route.refused : undefined;
}
