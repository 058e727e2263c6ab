/** What a process has under way when it ends: ways of the catalogue, over and over, by the packages or by their twins. */
import { closeSync, fsyncSync, open as openCallback, openSync, truncateSync, writeFileSync } from 'node:fs';
import { mkdtemp, readFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { promisify } from 'node:util';
import { feature } from '@zerocopy/core-syscalls';
import { acquireLease } from '@zerocopy/lease-guard';
import { mapFile, SharedBufferPool } from '@zerocopy/mmap-buffer';
import { MiB, pattern } from '@zerocopy/testing/bytes';
import { wayNamed, whyNot } from '../ways/index.js';
import { Stage } from '../ways/stage.js';
import { movers, type Side } from '../ways/twins.js';
import { type Hooks, run } from '../ways/way.js';

export interface Setting {
  readonly side: Side;
  readonly hooks: Hooks;
  /** Of this process's own. */
  readonly directory: string;
  /** A file of some MiB that nobody changes. */
  readonly file: string;
}

/** Does one thing, and does it again when it is done: each time is one call. It calls `moved` when bytes move. */
export type Job = (setting: Setting, moved: () => void) => Promise<void>;

/** Starts jobs over and over; resolves when each has moved something. A job that fails fails the process. */
export async function startAll(jobs: readonly Job[], setting: Setting): Promise<void> {
  const repeat = async (job: Job, moved: () => void): Promise<void> => {
    for (;;) {
      await job(setting, moved);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  await Promise.all(jobs.map((job) => new Promise<void>((moved) => void repeat(job, moved))));
}

const FILE_SIZE = 4 * MiB;
const openAsync = promisify(openCallback);
const content = pattern(FILE_SIZE);

function makeFile(directory: string, name: string, size: number = FILE_SIZE): string {
  const path = join(directory, name);
  writeFileSync(path, Buffer.alloc(size, name));
  return path;
}

/** A file on the disk, not only in memory, so that it can be read cold. */
export function makeDurableFile(directory: string, name: string): string {
  const path = makeFile(directory, name);
  const fd = openSync(path, 'r+');
  fsyncSync(fd);
  closeSync(fd);
  return path;
}

/** A way of the catalogue as a job: it moves when it says so, or when it is over. */
const going =
  (name: string): Job =>
  async ({ side, directory, hooks }, moved) => {
    const way = wayNamed(name);
    if (side === 'ours' ? whyNot(way) !== undefined : way.twin === undefined) return moved();
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
    for (const { error } of await run(way, { directory: own, content, hooks: heard, side }))
      if (error !== undefined) throw error;
    moved();
    hooks.onProgress();
  };

/** Somebody cuts the file short while it is mapped, read and under a lease; or read by Node, whole and by a stream. */
const mapped: Job = async ({ side, directory, hooks }, moved) => {
  const path = makeFile(directory, 'mapped', MiB);
  const file = side === 'ours' ? await mapFile(path) : undefined;
  const whole = file?.buffer ?? readFile(path);
  const source = movers[side].createMmapReadStream(path, { highWaterMark: 64 * 1024 });
  const ended = finished(source).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ERR_FILE_TRUNCATED' && error.code !== 'EFAULT') throw error;
  });
  source.once('data', () => void openAsync(path, 'r+').then((fd) => cutShort(fd, path)));
  let sum = 0;
  source.on('data', (chunk) => {
    moved();
    hooks.onEvent();
    sum += (chunk as Buffer)[0] as number;
  });
  await ended;
  const view = await whole;
  for (let at = 0; at < view.length; at += 4096) sum += view[at] as number;
  if (Number.isNaN(sum)) throw new Error('a view has holes');
  await file?.close();
};

function cutShort(fd: number, path: string): void {
  closeSync(fd);
  truncateSync(path, 5000);
}

const pooled: Job = async ({ side, directory, hooks }, moved) => {
  if (side === 'node' || !feature('memfdSeals').available || !feature('mmap').available) return moved();
  const pool = new SharedBufferPool({ bufferSize: 64 * 1024, count: 4 });
  const other = SharedBufferPool.open(pool.fd);
  const mine = pool.acquire();
  const handle = mine?.share();
  mine?.buffer.fill(1);
  const theirs = handle === undefined ? undefined : other.open(handle);
  const stage = new Stage({ directory, content });
  const { near, far } = await stage.pair('tcp');
  far.resume();
  await new Promise((resolve) => near.write(theirs?.buffer as Buffer, resolve));
  moved();
  hooks.onProgress();
  mine?.release();
  theirs?.release();
  other.close();
  pool.close();
  await stage.dispose();
};

export const jobs: Readonly<Record<string, Job>> = {
  stream: going('createSendfileStream to a tcp socket'),
  // In chunks: of one with a length Node's own client may have all, and hang up, before Node's pipeline has ended it.
  response: going('createSendfileStream to a response in chunks'),
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
};

/**
 * Leaves transfers behind that wait for a peer, and nothing of its own that keeps the process alive. Not what is stuck in
 * a write: that does so, by Node's own streams as well.
 */
export async function idle({ side, file, directory }: Setting): Promise<void> {
  const by = movers[side];
  const stage = new Stage({ directory, content });
  const ends: Socket[] = [];
  /** Its peer sends nothing, and reads everything. */
  const quiet = async (): Promise<Socket> => {
    const { near, far } = await stage.pair('tcp');
    ends.push(near, far.resume());
    return near;
  };
  // Each is cut off by the end of the process, or of its stage: how it fails is looked at nowhere.
  void by.splice(await quiet(), await quiet()).catch(() => {});
  void by.proxy(await quiet(), await quiet()).catch(() => {});
  void by.tee(await quiet(), [await quiet(), await quiet()]).catch(() => {});
  by.createSpliceReadStream(await quiet()).pipe(await quiet());
  (await quiet()).pipe(by.createSpliceWriteStream(join(directory, 'unfinished')));
  for (const stream of [by.createMmapReadStream(file), by.createSendfileStream(file)])
    kept.push(stream.once('readable', () => {}));
  if (side === 'ours') {
    kept.push(await mapFile(file));
    if (feature('lease').available) kept.push(await acquireLease(file, 'read'));
    if (feature('memfdSeals').available) kept.push(new SharedBufferPool({ bufferSize: 4096, count: 2 }).acquire());
  }
  for (const socket of ends) socket.unref();
}

const kept: unknown[] = [];
