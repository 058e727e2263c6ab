/**
 * The file of a stream that is over. Node's constructor destroys a stream whose `signal` has been aborted already; then it
 * opens the file all the same, and nobody closes it: fs.ReadStream and fs.WriteStream of Node 20 to 26 leak the descriptor.
 */
import { ReadStream, WriteStream } from 'node:fs';
import type { Readable, Writable } from 'node:stream';

type Destroy = (this: unknown, error: Error | null, callback: () => void) => void;

// Node's own, as they are when this module is loaded.
const [FileReader, FileWriter] = [ReadStream, WriteStream];
const { _destroy: closeReader } = FileReader.prototype as unknown as { _destroy: Destroy };
const { _destroy: closeWriter } = FileWriter.prototype as unknown as { _destroy: Destroy };

/** @param stream of a class that extends one of the two, whose constructor calls this when Node's own has returned. */
export function closeIfOpenedTooLate(stream: Readable | Writable): void {
  if (!stream.destroyed) return;
  const close = stream instanceof FileReader ? closeReader : closeWriter;
  // By the `fs` that has opened it.
  (stream as NodeJS.EventEmitter).once('open', () => close.call(stream, null, () => {}));
}
