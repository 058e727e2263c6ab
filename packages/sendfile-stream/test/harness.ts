/** The shared harness, and what is this package's own of it. */
import type { Socket } from 'node:net';
import { feature, libcStatus } from '@zerocopy/core-syscalls';
import { testsWhere } from '@zerocopy/testing/kernel-tests';
import { type Kind, withPair } from '@zerocopy/testing/sockets';

export { KiB, MiB, pattern } from '@zerocopy/testing/bytes';
export { record } from '@zerocopy/testing/events';
export { temporaryDirectory, writeFile } from '@zerocopy/testing/files';
export { openDescriptors } from '@zerocopy/testing/holdings';
export { type Answer, get, withHttpServer } from '@zerocopy/testing/http';
export { pause, until } from '@zerocopy/testing/waiting';

/** For tests of the kernel path. */
export const { test: kernelTest, serial: kernelSerial } = testsWhere(
  'the kernel path',
  libcStatus(),
  feature('sendfile'),
);
/** For tests of small files that are copied with the headers, which is done where it can be told that they are warm. */
export const { test: smallTest, serial: smallSerial } = testsWhere(
  'small files with the headers',
  libcStatus(),
  feature('sendfile'),
  feature('preadvNowait'),
);

/** A connected pair of sockets, TCP or unix. */
export const withSockets = (kind: Kind, use: (server: Socket, client: Socket) => Promise<void>): Promise<void> =>
  withPair(kind, ({ server, client }) => use(server, client));

/** Everything up to the end, and destroys the stream. */
export async function collect(stream: NodeJS.ReadableStream): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
