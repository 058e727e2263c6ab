/** Every package at work, in short: what children, sandboxes and the want of descriptors are let loose on. */
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { feature, probe, type TransferError } from '@zerocopy/core-syscalls';
import { copyFile } from '@zerocopy/file-copy';
import { acquireLease } from '@zerocopy/lease-guard';
import { createMmapReadStream, mapFile, SharedBufferPool } from '@zerocopy/mmap-buffer';
import { sendFile } from '@zerocopy/sendfile-stream';
import { createSpliceReadStream, createSpliceWriteStream, proxy, splice, tee } from '@zerocopy/splice-pipe';
import { arrival, request, withPair } from '../traffic/peers.js';
import { sendTraffic } from '../traffic/send.js';
import type { Delivery, Setting, Traffic } from '../traffic/traffic.js';

const traffic: Traffic[] = [];

const sourceOf = ({ directory }: Setting): string => join(directory, 'source');

/** @param run resolves with what has arrived, at each of the destinations. */
function add(name: string, run: (setting: Setting) => Promise<readonly Buffer[]>): void {
  traffic.push({
    name,
    prepare: (setting) => writeFileSync(sourceOf(setting), setting.content),
    async run(setting) {
      try {
        const received = await run(setting);
        return received.map((bytes): Delivery => ({ received: bytes, bytes: bytes.length }));
      } catch (error) {
        const { bytes = 0 } = error as Partial<TransferError>;
        return [{ received: Buffer.alloc(0), error: error as NodeJS.ErrnoException, bytes }];
      }
    },
  });
}

add('splice from a socket to a socket', ({ content }) =>
  withPair('tcp', (from) =>
    withPair('unix', async (to) => {
      from.client.end(content);
      const received = arrival(to.client);
      try {
        await splice(from.server, to.server);
      } finally {
        to.server.end();
      }
      return [await received];
    }),
  ),
);

add('splice from a file to a file', async (setting) => {
  const [from, to] = [await open(sourceOf(setting)), await open(join(setting.directory, 'target'), 'w')];
  try {
    await splice(from, to);
  } finally {
    await from.close();
    await to.close();
  }
  return [readFileSync(join(setting.directory, 'target'))];
});

add('proxy', ({ content }) =>
  withPair('tcp', (a) =>
    withPair('tcp', async (b) => {
      const received = [arrival(a.client), arrival(b.client)];
      a.client.end(content);
      b.client.end(content);
      await proxy(a.server, b.server);
      return Promise.all(received);
    }),
  ),
);

add('tee to a socket and a file', (setting) =>
  withPair('tcp', (from) =>
    withPair('unix', async (to) => {
      const file = await open(join(setting.directory, 'target'), 'w');
      const received = arrival(to.client);
      from.client.end(setting.content);
      try {
        const { destinations } = await tee(from.server, [to.server, file]);
        for (const { error } of destinations) if (error !== undefined) throw error;
      } finally {
        to.server.end();
        await file.close();
      }
      return [await received, readFileSync(join(setting.directory, 'target'))];
    }),
  ),
);

add('createSpliceReadStream', ({ content }) =>
  withPair('tcp', (from) =>
    withPair('tcp', async (to) => {
      const received = arrival(to.client);
      from.client.end(content);
      await pipeline(createSpliceReadStream(from.server), to.server);
      return [await received];
    }),
  ),
);

add('an upload by createSpliceWriteStream', async (setting) => {
  const target = join(setting.directory, 'target');
  const { told } = await request(async (incoming, response) => {
    const error = await pipeline(incoming, createSpliceWriteStream(target)).catch((reason: unknown) => reason);
    response.end();
    return error;
  }, setting.content);
  if (told !== undefined) throw told;
  return [readFileSync(target)];
});

add('copyFile', async (setting) => {
  const target = join(setting.directory, 'target');
  await copyFile(sourceOf(setting), target, { reflink: 'never' });
  return [readFileSync(target)];
});

add('mapFile', async (setting) => {
  const mapped = await mapFile(sourceOf(setting));
  try {
    await mapped.populate();
    return [Buffer.from(mapped.buffer)];
  } finally {
    await mapped.close();
  }
});

add('createMmapReadStream', async (setting) => [await arrivalOf(createMmapReadStream(sourceOf(setting)))]);

async function arrivalOf(stream: NodeJS.ReadableStream): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk as Buffer));
  return Buffer.concat(chunks);
}

add('SharedBufferPool', async ({ content }) => {
  if (!feature('memfdSeals').available || !feature('mmap').available) return [];
  using pool = new SharedBufferPool({ bufferSize: content.length, count: 2 });
  using other = SharedBufferPool.open(pool.fd);
  using buffer = pool.acquire() as NonNullable<ReturnType<SharedBufferPool['acquire']>>;
  content.copy(buffer.buffer);
  using opened = other.open(buffer.share());
  return [Buffer.from(opened.buffer)];
});

add('sendFile under a lease', (setting) =>
  withPair('tcp', async ({ server, client }) => {
    const received = arrival(client);
    try {
      await sendFile(server, sourceOf(setting), { lease: feature('lease').available, smallFileSize: 0 });
    } finally {
      server.end();
    }
    return [await received];
  }),
);

add('a lease that is broken', async (setting) => {
  const path = sourceOf(setting);
  if (!feature('lease').available) return [readFileSync(path)];
  const lease = await acquireLease(path, 'read');
  const released = once(lease, 'release');
  const writer = await open(path, 'r+');
  await writer.close();
  await released;
  return [readFileSync(path)];
});

add('probe', async () => {
  probe();
  return [];
});

export const everything: readonly Traffic[] = [...sendTraffic, ...traffic];

/** What is wrong with what came of it: bytes that differ, or that are missing without an error. */
export function complaintOf({ content }: Setting, deliveries: readonly Delivery[]): string | undefined {
  for (const { received, error } of deliveries) {
    if (error === undefined && !received.equals(content))
      return `${received.length} bytes have arrived, and not the right ones`;
    if (!received.equals(content.subarray(0, received.length))) return 'what has arrived is not what was sent';
  }
  return undefined;
}
