/** The streams' types are those of Node's, with 'progress': under every way in which programs resolve modules. */
import { RESOLUTIONS, typeErrors } from '@zerocopy/testing/type-check';
import test from 'ava';

const program = `
import { createWriteStream } from 'node:fs';
import type { Socket } from 'node:net';
import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createSpliceReadStream, createSpliceWriteStream, SpliceReadStream, SpliceWriteStream } from '@zerocopy/splice-pipe';

export function use(socket: Socket): void {
  const read = createSpliceReadStream(socket);
  read.on('error', (error) => error.message).on('data', (chunk) => chunk.length).on('end', () => {}).once('close', () => {});
  read.on('progress', (bytes) => bytes.toFixed()).on('pause', () => {}).method?.toUpperCase();
  read.once('progress', (bytes, total) => [bytes.toFixed(), total?.toFixed()]);
  read.prependListener('error', (error) => error.stack).prependOnceListener('progress', (bytes) => bytes.toFixed());
  read.addListener('progress', (bytes) => bytes.toFixed()).addListener('error', (error) => error.message);
  read.off('progress', () => {}).removeListener('data', () => {});
  read.emit('progress', 1, 2);
  const made = new SpliceReadStream(socket);
  made.on('error', (error) => error.message).on('progress', (bytes) => bytes.toFixed()).bytesMoved.toFixed();
  const readable: Readable = made;
  const drop: typeof createWriteStream = (...all) => createSpliceWriteStream(...all);
  const write = createSpliceWriteStream('path', { start: 1, fallback: 'never' });
  write.on('error', (error) => error.message).on('open', (fd) => fd.toFixed()).on('finish', () => {}).on('drain', () => {});
  write.on('progress', (bytes) => bytes.toFixed()).on('pipe', (source) => source.read()).once('ready', () => {});
  write.once('progress', (bytes, total) => [bytes.toFixed(), total?.toFixed()]).bytesWritten.toFixed();
  const own = new SpliceWriteStream('path');
  own.on('progress', (bytes) => bytes.toFixed()).on('error', (error) => error.message).close();
  const writable: Writable = own;
  void pipeline(read, write);
  void pipeline(readable, writable);
  drop('path').end();
  // @ts-expect-error so that it is seen that errors are
  read.nothing();
}
`;

for (const [name, resolution] of Object.entries(RESOLUTIONS)) {
  test(`a program that uses them as Node's type-checks: moduleResolution ${name}`, (t) => {
    t.deepEqual(typeErrors(program, resolution), []);
  });
}
