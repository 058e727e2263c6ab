/** The declarations as programs use them, under each way of resolving modules. */
import { RESOLUTIONS, typeErrors } from '@zerocopy/testing/type-check';
import test from 'ava';

const PROGRAM = `
import { createSendfileStream, SendfileReadStream } from '@zerocopy/sendfile-stream';
const stream: SendfileReadStream = createSendfileStream('x');
const message: string[] = [];
createSendfileStream('x')
  .on('error', (e) => message.push(e.message))
  .on('data', (chunk) => message.push(String(chunk.length)))
  .on('open', (fd) => fd.toFixed())
  .once('progress', (bytes, total) => bytes.toFixed() + total.toFixed())
  .addListener('close', () => {});
stream.on('progress', (bytes: number, total: number) => bytes + total).method?.toUpperCase();
// @ts-expect-error a count of bytes is no string
createSendfileStream('x').on('progress', (bytes) => bytes.toUpperCase());
`;

for (const [name, resolution] of Object.entries(RESOLUTIONS)) {
  test(`events type-check with moduleResolution ${name}`, (t) => {
    t.deepEqual(typeErrors(PROGRAM, resolution), []);
  });
}
