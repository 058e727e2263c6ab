/** Every package of the project, busy. */
import { once } from 'node:events';
import { closeSync, open as openCallback, openSync, truncateSync } from 'node:fs';
import { open } from 'node:fs/promises';
import http from 'node:http';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { finished, pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { isMainThread } from 'node:worker_threads';
import { constants, feature, syscalls } from '@zerocopy/core-syscalls';
import { copyFile } from '@zerocopy/file-copy';
import { acquireLease } from '@zerocopy/lease-guard';
import { createMmapReadStream, mapFile, SharedBufferPool } from '@zerocopy/mmap-buffer';
import { createSendfileStream, sendFile } from '@zerocopy/sendfile-stream';
import { createSpliceReadStream, createSpliceWriteStream, proxy, splice, tee } from '@zerocopy/splice-pipe';
import { type Cargo, FILE_SIZE, type Job, makeFile, type Setting } from './cargo.js';

const openAsync = promisify(openCallback);
const MiB = 1024 * 1024;

/** Its next reads have to wait for the disk, where there is one. */
function makeCold(path: string): void {
  const fd = openSync(path, 'r');
  syscalls.posixFadvise(fd, 0, 0, constants.POSIX_FADV_DONTNEED);
  closeSync(fd);
}

const progress =
  ({ hooks }: Setting, moved: () => void): (() => void) =>
  () => {
    moved();
    hooks.onProgress();
  };

const listener =
  ({ hooks }: Setting, moved: () => void): (() => void) =>
  () => {
    moved();
    hooks.onEvent();
  };

/** What tells that a stream of sendfile moves: where the kernel does not send there is no progress, but data. */
const SENT = feature('sendfile').available ? 'progress' : 'data';

const stream: Job = async (setting, moved) => {
  const socket = await setting.hosts.to('sink');
  const source = createSendfileStream(setting.file);
  source.on(SENT, listener(setting, moved));
  await pipeline(source, socket);
};

/** By HTTP, and to a client that comes too late to be waited for. */
const response: Job = async (setting, moved) => {
  const server = http.createServer((_request, answer) => {
    const source = createSendfileStream(setting.file);
    source.on(SENT, listener(setting, moved));
    void pipeline(source, answer);
  });
  const port = await setting.hosts.listen(server);
  const request = http.get({ port, host: '127.0.0.1', agent: false });
  const [answer] = (await once(request, 'response')) as [http.IncomingMessage];
  await finished(answer.resume());
  server.close();
};

const coldFile: Job = async (setting, moved) => {
  makeCold(setting.file);
  const socket = await setting.hosts.to('sink');
  await sendFile(socket, setting.file, { onProgress: progress(setting, moved) });
  socket.destroy();
};

const toFile: Job = async (setting, moved) => {
  makeCold(setting.file);
  const to = await open(join(setting.directory, 'sent'), 'w');
  await sendFile(to, setting.file, { onProgress: progress(setting, moved) });
  await to.close();
};

const joined: Job = async (setting, moved) => {
  const [from, to] = [await setting.hosts.to('source'), await setting.hosts.to('sink')];
  await splice(from, to, { length: 8 * MiB, onProgress: progress(setting, moved) });
  from.destroy();
  to.destroy();
};

const recorded: Job = async (setting, moved) => {
  const [from, to] = [await setting.hosts.to('source'), await open(join(setting.directory, 'recorded'), 'w')];
  await splice(from, to, { length: 4 * MiB, onProgress: progress(setting, moved) });
  from.destroy();
  await to.close();
};

const proxied: Job = async (setting, moved) => {
  const [a, b] = [await setting.hosts.to('source'), await setting.hosts.to('sink')];
  let bytes = 0;
  const onProgress = progress(setting, moved);
  await proxy(a, b, {
    onProgress(forward) {
      onProgress();
      bytes = forward;
      if (bytes > 8 * MiB) a.destroy();
    },
  }).catch((error: NodeJS.ErrnoException) => {
    if (!a.destroyed) throw error;
  });
  b.destroy();
};

const teed: Job = async (setting, moved) => {
  const [from, to] = [await setting.hosts.to('source'), await setting.hosts.to('sink')];
  const file = await open(join(setting.directory, 'teed'), 'w');
  await tee(from, [to, file], { length: 4 * MiB, onProgress: progress(setting, moved) });
  from.destroy();
  to.destroy();
  await file.close();
};

const uploaded: Job = async (setting, moved) => {
  const server = http.createServer((request, answer) => {
    const to = createSpliceWriteStream(join(setting.directory, 'uploaded'));
    to.on('progress', listener(setting, moved));
    void pipeline(request, to).then(() => answer.end());
  });
  const port = await setting.hosts.listen(server);
  const headers = { 'content-length': String(FILE_SIZE) };
  const request = http.request({ port, host: '127.0.0.1', method: 'PUT', agent: false, headers });
  request.end(Buffer.alloc(FILE_SIZE));
  const [answer] = (await once(request, 'response')) as [http.IncomingMessage];
  await finished(answer.resume());
  server.close();
};

const copied: Job = async (setting, moved) => {
  const to = join(setting.directory, 'copied');
  await copyFile(setting.file, to, { reflink: 'never', onProgress: progress(setting, moved) });
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

/**
 * Under a lease, which a writer breaks. On a worker the writer does not wait: a thread that is terminated while its own
 * open() waits for its own lease ends when the kernel takes that away, after lease-break-time (45 s).
 */
const leased: Job = async (setting, moved) => {
  if (!feature('lease').available) return moved();
  const path = makeFile(setting.directory, 'leased', 5000);
  const lease = await acquireLease(path, 'read');
  lease.on('break', () => {
    moved();
    void lease.release();
    setting.hooks.onEvent();
  });
  const released = once(lease, 'release');
  if (isMainThread) closeSync(await openAsync(path, 'r+'));
  else await openAsync(path, constants.O_RDWR | constants.O_NONBLOCK).then(closeSync, () => {});
  await released;
};

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
    stream,
    response,
    coldFile,
    toFile,
    joined,
    recorded,
    proxied,
    teed,
    uploaded,
    copied,
    mapped,
    leased,
    pooled,
  },
  idle,
};
