/** What a program in TypeScript imports: compiled as a CommonJS and as an ES module, by each way to resolve modules. */
import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import { libcStatus, type TransferResult } from '@zerocopy/core-syscalls';
import { descriptorOf } from '@zerocopy/core-syscalls/descriptors';
import { uninterrupted } from '@zerocopy/core-syscalls/native';
import { copyFile } from '@zerocopy/file-copy';
import { acquireLease, leaseProvider } from '@zerocopy/lease-guard';
import { mapFile } from '@zerocopy/mmap-buffer';
import { copy } from '@zerocopy/pipeline';
import { pipeline } from '@zerocopy/pipeline/promises';
import { createSendfileStream, sendFile } from '@zerocopy/sendfile-stream';
import { serveFiles } from '@zerocopy/serve-files';
import { createSpliceWriteStream, proxy } from '@zerocopy/splice-pipe';

export async function typed(socket: Socket): Promise<TransferResult[]> {
  const available: boolean = libcStatus().available;
  if (!available) return [];
  createServer(serveFiles('/srv'));
  const lease = await acquireLease('/etc/hostname', 'read');
  const state: 'held' | 'breaking' | 'released' = lease.state;
  const file = await mapFile('/etc/hostname');
  const bytes: Buffer = file.buffer;
  createSendfileStream('/etc/hostname').on('error', (error) => error.message);
  await pipeline(socket, createSpliceWriteStream('/tmp/x'));
  const { forward } = await proxy(socket, socket);
  const results = [
    await sendFile(socket, '/etc/hostname', { lease: leaseProvider }),
    await copyFile('/a', '/b'),
    forward,
  ];
  return [...results, await copy('/a', '/b')].filter(() => state === 'held' && bytes.length > uninterrupted(() => 0));
}

export const numbered = descriptorOf;
