/** How the sources of ways are fed. */
import type { Readable, Writable } from 'node:stream';

/** Bytes of each message. */
const MESSAGE = 4000;

export interface Feeding {
  readonly manner?: 'at once' | 'in messages';
  readonly content?: Buffer;
  /** By which the next message waits for the one before; default: the destination made last. */
  readonly reader?: Readable;
}

/** The next message when the one before has arrived at `reader`. */
export function feedInMessages(writer: Writable, content: Buffer, reader: Readable): void {
  let [sent, arrived] = [0, 0];
  const next = (): void => {
    if (sent === content.length) writer.end();
    else writer.write(content.subarray(sent, sent + MESSAGE));
    sent = Math.min(sent + MESSAGE, content.length);
  };
  reader.on('data', (chunk: Buffer) => {
    arrived += chunk.length;
    if (arrived === sent && !writer.writableEnded) next();
  });
  next();
}

/** Writes all, or half of it, and the rest when `goingOn` resolves. */
export async function write(writer: Writable, bytes: Buffer, goingOn: Promise<void> | undefined): Promise<void> {
  if (goingOn === undefined) {
    writer.write(bytes);
    return;
  }
  const half = Math.floor(bytes.length / 2);
  writer.write(bytes.subarray(0, half));
  await goingOn;
  writer.write(bytes.subarray(half));
}
