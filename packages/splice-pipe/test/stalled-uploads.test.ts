/** What an upload holds while its client sends nothing: by the hundred, that is what limits a server. */
import { once } from 'node:events';
import { statSync } from 'node:fs';
import http, { type IncomingMessage } from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createSpliceWriteStream, pipePoolStats, receiveFile } from '@zerocopy/splice-pipe';
import { collectGarbage } from '@zerocopy/testing/holdings';
import { KiB, kernelSerial, MiB, openDescriptors, pattern, temporaryDirectory, until } from './harness.js';

const directory = temporaryDirectory();
const UPLOADS = 20;
/** Without pipes that are kept for the next transfer for a while. */
const descriptorsInUse = (): number => openDescriptors() - 2 * pipePoolStats().idle;

/** The connection, on which the kernel's own reading waits by a duplicate, and the file. */
const DESCRIPTORS = 3;

for (const [name, store] of [
  [
    'createSpliceWriteStream',
    (request: IncomingMessage, path: string) => pipeline(request, createSpliceWriteStream(path)),
  ],
  ['receiveFile', (request: IncomingMessage, path: string) => receiveFile(request, path)],
] as const) {
  kernelSerial(`${name}: a stalled upload holds three descriptors, and none of its bytes`, async (t) => {
    let paths = 0;
    const pathOf = (n: number): string => join(directory, `${name}-${n}`);
    const failures: Promise<unknown>[] = [];
    const server = http.createServer((request) => {
      const path = pathOf(paths++);
      failures.push(t.throwsAsync(store(request, path) as Promise<unknown>));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const part = pattern(256 * KiB);
    const clients: net.Socket[] = [];
    const begin = async (): Promise<void> => {
      const client = net.connect(port, '127.0.0.1');
      client.on('error', () => {});
      clients.push(client);
      client.write(`PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: ${2 * MiB}\r\n\r\n`);
      client.write(part);
      await once(client, 'connect');
    };
    const held = async (): Promise<{ descriptors: number; memory: number }> => {
      const sizeOf = (n: number): number => statSync(pathOf(n), { throwIfNoEntry: false })?.size ?? 0;
      await until(() => clients.every((_, n) => sizeOf(n) === part.length), 'all that has come in the files');
      await collectGarbage();
      return { descriptors: descriptorsInUse(), memory: process.memoryUsage().arrayBuffers };
    };
    const base = descriptorsInUse();
    try {
      await begin();
      const { memory } = await held();
      for (let n = 0; n < UPLOADS; n++) await begin();
      const now = await held();
      const most = base + clients.length * (DESCRIPTORS + 1); // one is the client's
      t.true(now.descriptors <= most, `${now.descriptors} descriptors, of at most ${most}`);
      t.true(now.memory - memory < (UPLOADS * part.length) / 16, `${now.memory - memory} bytes`);
    } finally {
      for (const client of clients) client.destroy();
      await Promise.all(failures);
      server.close();
      await once(server, 'close');
    }
  });
}
