/** Reads a file, copies it, or sends it, when it is told to: one contestant. Its CPU is its own, by its own clock. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { addressOf } from '@zerocopy/core-syscalls/native';
import { createDirectReadStream, type DirectReadStream, openDirect } from '@zerocopy/direct-io';
import { copyFile } from '@zerocopy/file-copy';
import { sendFile } from '@zerocopy/sendfile-stream';
import { answerReports, answerTasks, tell } from './reporting.js';

export interface DirectTask {
  readonly path: string;
  /** Random reads of 4 KiB, so many at once; 0: the file from its start to its end. */
  readonly depth: number;
  readonly reads: number;
  readonly size: number;
}

export interface CopyTask {
  readonly from: string;
  readonly to: string;
  readonly cache: 'keep' | 'drop';
  readonly durable?: boolean;
}

const BLOCK = 4096;
const MiB = 1024 * 1024;
const [name = ''] = process.argv.slice(2);
let method = 'its own';

async function stream({ path }: DirectTask, use: (chunk: Buffer) => void): Promise<void> {
  const ours = name.startsWith('zerocopy');
  const options = name.endsWith('4-mib')
    ? { highWaterMark: 4 * MiB }
    : name.endsWith('1-mib')
      ? { highWaterMark: MiB }
      : {};
  const source = ours ? createDirectReadStream(path, options) : createReadStream(path, options);
  const releases = name.endsWith('release');
  for await (const chunk of source) {
    use(chunk as Buffer);
    if (releases) (source as DirectReadStream).release(chunk as Buffer);
  }
  if ('method' in source) method = source.method as string;
}

/** What is aligned is read into directly. */
function alignedBlock(): Buffer {
  const memory = Buffer.allocUnsafeSlow(2 * BLOCK);
  const over = addressOf(memory) % BLOCK;
  return memory.subarray((BLOCK - over) % BLOCK).subarray(0, BLOCK);
}

async function random({ path, depth, reads, size }: DirectTask): Promise<void> {
  const blocks = Math.floor(size / BLOCK);
  const anywhere = (): number => Math.floor(Math.random() * blocks) * BLOCK;
  let left = reads;
  const ours = name.startsWith('zerocopy') ? await openDirect(path) : undefined;
  const theirs = ours === undefined ? await open(path) : undefined;
  if (ours !== undefined) method = `${ours.method}, ${ours.readsBy}`;
  const isInto = name.endsWith('into');
  const reader = async (): Promise<void> => {
    const target = alignedBlock();
    while (left-- > 0) {
      if (isInto) await ours?.readInto(anywhere(), target);
      else if (ours !== undefined) await ours.read(anywhere(), BLOCK);
      else await theirs?.read(Buffer.allocUnsafeSlow(BLOCK), 0, BLOCK, anywhere());
    }
  };
  await Promise.all(Array.from({ length: depth }, reader));
  await ours?.close();
  await theirs?.close();
}

async function measured(work: () => Promise<unknown>): Promise<Readonly<Record<string, number>>> {
  const [startedAt, cpu] = [performance.now(), process.cpuUsage()];
  await work();
  const { user, system } = process.cpuUsage(cpu);
  return { seconds: (performance.now() - startedAt) / 1000, cpu: (user + system) / 1e6 };
}

answerReports(() => ({ method }));
answerTasks({
  async hash(task) {
    const hash = createHash('sha256');
    await stream(task as DirectTask, (chunk) => void hash.update(chunk));
    return { start: hash.digest().readUInt32BE(0) };
  },
  read: (task) => {
    const one = task as DirectTask;
    return measured(() => (one.depth === 0 ? stream(one, () => {}) : random(one)));
  },
  copy: (task) => {
    const { from, to, cache, durable = false } = task as CopyTask;
    return measured(async () => {
      await copyFile(from, to, { cache, reflink: 'never' });
      if (!durable) return;
      const file = await open(to, 'r+');
      await file.datasync();
      await file.close();
    });
  },
});

/** A line asks for a file; then the connection ends. */
const server = createServer((socket) => {
  socket.once('data', (line) => {
    const path = String(line).trim();
    sendFile(socket, path, { cache: name === 'drop' ? 'drop' : 'keep' }).then(
      () => void socket.end(),
      () => void socket.destroy(),
    );
  });
});
server.listen(0, '127.0.0.1', () => tell({ port: (server.address() as AddressInfo).port }));
