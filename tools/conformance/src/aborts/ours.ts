/** Every package of the project, busy: ways of the catalogue, over and over. */
import { closeSync, open as openCallback, truncateSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { promisify } from 'node:util';
import { feature } from '@zerocopy/core-syscalls';
import { acquireLease } from '@zerocopy/lease-guard';
import { createMmapReadStream, mapFile, SharedBufferPool } from '@zerocopy/mmap-buffer';
import { createSendfileStream } from '@zerocopy/sendfile-stream';
import { createSpliceReadStream, createSpliceWriteStream, proxy, splice, tee } from '@zerocopy/splice-pipe';
import { MiB, pattern } from '@zerocopy/testing/bytes';
import { wayNamed, whyNot } from '../ways/index.js';
import { run } from '../ways/way.js';
import { type Cargo, type Job, makeFile, type Setting } from './cargo.js';

const openAsync = promisify(openCallback);
const content = pattern(4 * MiB);

/** A way of the catalogue as a job: it moves when it says so, or when it is over. */
const going =
  (name: string): Job =>
  async ({ directory, hooks }, moved) => {
    const way = wayNamed(name);
    if (whyNot(way) !== undefined) return moved();
    const heard = {
      onProgress(): void {
        moved();
        hooks.onProgress();
      },
      onEvent(): void {
        moved();
        hooks.onEvent();
      },
    };
    const own = await mkdtemp(join(directory, 'way-'));
    for (const { error } of await run(way, { directory: own, content, hooks: heard }))
      if (error !== undefined) throw error;
    moved();
    hooks.onProgress();
  };

/** Somebody cuts the file short while it is mapped, read and under a lease. */
const mapped: Job = async (setting, moved) => {
  const path = makeFile(setting.directory, 'mapped', MiB);
  const file = await mapFile(path);
  const view = file.buffer;
  const source = createMmapReadStream(path, { highWaterMark: 64 * 1024 });
  const ended = finished(source).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ERR_FILE_TRUNCATED' && error.code !== 'EFAULT') throw error;
  });
  source.once('data', () => void openAsync(path, 'r+').then((fd) => cutShort(fd, path)));
  let sum = 0;
  source.on('data', (chunk) => {
    moved();
    setting.hooks.onEvent();
    sum += (chunk as Buffer)[0] as number;
  });
  await ended;
  for (let at = 0; at < view.length; at += 4096) sum += view[at] as number;
  if (Number.isNaN(sum)) throw new Error('a view has holes');
  await file.close();
};

function cutShort(fd: number, path: string): void {
  closeSync(fd);
  truncateSync(path, 5000);
}

const pooled: Job = async (setting, moved) => {
  if (!feature('memfdSeals').available || !feature('mmap').available) return moved();
  const pool = new SharedBufferPool({ bufferSize: 64 * 1024, count: 4 });
  const other = SharedBufferPool.open(pool.fd);
  const mine = pool.acquire();
  const handle = mine?.share();
  mine?.buffer.fill(1);
  const theirs = handle === undefined ? undefined : other.open(handle);
  const socket = await setting.hosts.to('sink');
  await new Promise((resolve) => socket.write(theirs?.buffer as Buffer, resolve));
  moved();
  setting.hooks.onProgress();
  mine?.release();
  theirs?.release();
  other.close();
  pool.close();
  socket.destroy();
};

/** Not what is stuck in a write: that keeps the process alive, by Node's own streams as well. */
async function idle({ hosts, file, directory }: Setting): Promise<void> {
  const [quiet, sink] = [(): Promise<Socket> => hosts.to('stalled'), (): Promise<Socket> => hosts.to('sink')];
  void splice(await quiet(), await sink()).catch(() => {});
  void proxy(await quiet(), await quiet()).catch(() => {});
  void tee(await quiet(), [await sink(), await quiet()]).catch(() => {});
  createSpliceReadStream(await quiet()).pipe(await sink());
  (await quiet()).pipe(createSpliceWriteStream(join(directory, 'unfinished')));
  keep(await mapFile(file));
  keep(createMmapReadStream(file).once('readable', () => {}));
  keep(createSendfileStream(file).once('readable', () => {}));
  if (feature('lease').available) keep(await acquireLease(file, 'read'));
  if (feature('memfdSeals').available) keep(new SharedBufferPool({ bufferSize: 4096, count: 2 }).acquire());
}

const kept: unknown[] = [];
const keep = (thing: unknown): void => void kept.push(thing);

export const ours: Cargo = {
  jobs: {
    stream: going('createSendfileStream to a tcp socket'),
    response: going('createSendfileStream to a response with a length'),
    coldFile: going('sendFile of a cold file to a tcp socket'),
    toFile: going('sendFile of a cold file to a file'),
    joined: going('splice from a tcp socket to a tcp socket'),
    recorded: going('splice from a tcp socket to a file'),
    read: going('createSpliceReadStream of a tcp socket'),
    proxied: going('proxy between tcp sockets, both at once'),
    teed: going('tee to a socket and a file'),
    uploaded: going('createSpliceWriteStream from uploads on one connection'),
    copied: going('copyFile by splice'),
    leased: going('a lease that is broken by a writer'),
    mapped,
    pooled,
  },
  idle,
};
