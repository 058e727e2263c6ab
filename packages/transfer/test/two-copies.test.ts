/**
 * Two copies of this package and of core-syscalls in one process, as a dependency tree with two versions holds them:
 * both go by the kernel on one socket, and know each other's write slots and takeovers (registered symbols).
 *
 * What each copy has for itself: the pipe pool, the threads it may use at once, and the number of transfers that the
 * quantum is divided by. Two copies together may use twice as much of each.
 */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as core from '@zerocopy/core-syscalls';
import * as transfer from '@zerocopy/transfer';
import test from 'ava';
import { copyOfTransfer } from './copies.js';

type Result = transfer.TransferResult;

interface Loaded {
  readonly core: typeof core;
  readonly transfer: typeof transfer;
}

const status = core.libcStatus();
const onLinux = status.available ? test.serial : test.skip;
if (!status.available) test.skip(`two copies: ${status.reason}`, () => {});

const own: Loaded = { core, transfer };

const files = mkdtempSync(join(tmpdir(), 'zerocopy-copies-'));
const path = join(files, 'data');
const data = randomBytes(5_000_000); // more than the buffers of a socket hold
writeFileSync(path, data);
const fd = openSync(path, 'r');
const copies = [copyOfTransfer('linked'), copyOfTransfer('copied')] as const;
test.after.always(() => {
  closeSync(fd);
  rmSync(files, { recursive: true });
  for (const copy of copies) copy.remove();
});

const load = async (which: 0 | 1): Promise<Loaded> => ({
  core: (await import(copies[which].core)) as typeof core,
  transfer: (await import(copies[which].transfer)) as typeof transfer,
});

async function pair(t: { teardown(undo: () => void): void }): Promise<{ socket: Socket; peer: Socket }> {
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const accepted = once(listener, 'connection');
  const socket = connect((listener.address() as { port: number }).port, '127.0.0.1');
  await once(socket, 'connect');
  const [peer] = (await accepted) as [Socket];
  t.teardown(() => {
    socket.destroy();
    peer.destroy();
    listener.close();
  });
  return { socket, peer };
}

/** Sends a range of the file by the given copy: a slot in the socket's queue, then sendfile until it is done. */
function send(by: Loaded, socket: Socket, start: number, end: number): Promise<Result> {
  const { syscalls } = by.core;
  return new Promise((resolve, reject) => {
    by.transfer.requestWriteSlot(socket, socket, {
      begin(slot) {
        let position = start;
        const moved = (bytes: number): number => {
          if (bytes > 0) position += bytes;
          return bytes;
        };
        const engine: transfer.TransferEngine = {
          method: 'sendfile',
          syscall: 'sendfile',
          attempt(count) {
            const bytes = moved(syscalls.sendfile(slot.descriptor(), fd, position, count));
            if (bytes > 0) slot.moved(bytes);
            return bytes;
          },
          wait(count, resume) {
            const chunk = Buffer.alloc(Math.min(count, 64));
            const length = readSync(fd, chunk, 0, chunk.length, position);
            slot.write(chunk.subarray(0, length), (error) => resume(error ?? null, error ? 0 : moved(length)));
          },
        };
        new by.transfer.Transfer({
          engine,
          length: end - start,
          onEnd(error, result) {
            slot.end(error);
            if (error === null) resolve(result);
            else reject(error);
          },
        }).start();
      },
      dropped: () => reject(new Error('dropped')),
      lost: (error) => reject(error ?? new Error('lost')),
    });
  });
}

const hash = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

async function received(peer: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of peer) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

onLinux('the copies are copies, and each calls the kernel: with one koffi, and with one of its own', async (t) => {
  const koffi = createRequire(fileURLToPath(new URL('../../core-syscalls/package.json', import.meta.url)))('koffi');
  for (const [index, isSame] of [true, false].entries()) {
    const other = await load(index as 0 | 1);
    t.not(other.transfer.Transfer, transfer.Transfer);
    t.not(other.core.syscalls.sendfile, core.syscalls.sendfile);
    t.deepEqual(other.core.libcStatus(), { available: true });
    t.deepEqual(other.core.feature('sendfile'), core.feature('sendfile'));
    t.is(createRequire(copies[index as 0 | 1].core)('koffi') === koffi, isSame);
    // Each is told the errno of its own calls.
    t.is(other.core.syscalls.close(-1), -core.constants.EBADF);
    t.is(core.syscalls.read(fd, null, 1), -core.constants.EFAULT);
  }
});

for (const which of [0, 1] as const) {
  const koffi = which === 0 ? 'one koffi' : 'a koffi for each';

  onLinux(`both send on one socket by the kernel, one after the other, with ${koffi}`, async (t) => {
    const other = await load(which);
    const { socket, peer } = await pair(t);
    const all = received(peer);
    const results = [
      await send(own, socket, 0, 2_000_000),
      await send(other, socket, 2_000_000, 4_000_000),
      await send(own, socket, 4_000_000, data.length),
    ];
    socket.end();
    t.is(hash(await all), hash(data));
    t.deepEqual(
      results.map(({ method, bytes }) => [method, bytes]),
      [
        ['sendfile', 2_000_000],
        ['sendfile', 2_000_000],
        ['sendfile', 1_000_000],
      ],
    );
    t.is(socket.bytesWritten, data.length);
  });

  onLinux(`both queue on one socket, with writes in between and corked, with ${koffi}`, async (t) => {
    const other = await load(which);
    const { socket, peer } = await pair(t);
    const all = received(peer);
    const expected: Buffer[] = [];
    const sends: Promise<Result>[] = [];
    let called = 0;
    const write = (text: string): void => {
      socket.write(text, () => called++);
      expected.push(Buffer.from(text));
    };
    const range = (by: Loaded, start: number, end: number): void => {
      sends.push(send(by, socket, start, end));
      expected.push(data.subarray(start, end));
    };
    write('first');
    range(own, 0, 1_500_000);
    range(other, 10, 20);
    socket.cork();
    write('second');
    range(other, 1_000_000, 2_500_000);
    write('third');
    range(own, 0, 1);
    range(other, 1, 3);
    write('fourth');
    socket.uncork();
    range(own, 4_999_999, 5_000_000);
    await Promise.all(sends);
    write('last');
    socket.end();
    const bytes = await all;
    t.is(bytes.length, Buffer.concat(expected).length);
    t.is(hash(bytes), hash(Buffer.concat(expected)));
    t.is(called, 5);
    t.is(socket.bytesWritten, bytes.length);
  });
}

onLinux('a socket that closes ends the slots of both', async (t) => {
  const other = await load(0);
  const { socket, peer } = await pair(t);
  peer.pause(); // so that the first does not end
  const first = send(own, socket, 0, data.length);
  const second = send(other, socket, 0, 10);
  const third = send(own, socket, 0, 10);
  setTimeout(() => socket.destroy(), 50);
  const ends = await Promise.allSettled([first, second, third]);
  t.deepEqual(
    ends.map((end) => end.status),
    ['rejected', 'rejected', 'rejected'],
  );
});

onLinux('what one has taken over for reading the other leaves alone, and takes when it is given back', async (t) => {
  const other = await load(0);
  const { socket, peer } = await pair(t);
  socket.on('error', () => {});
  const read = async (by: Loaded, text: string): Promise<void> => {
    const taken = by.transfer.takeSocketForReading(socket);
    if (taken === null) return t.fail('it cannot be taken');
    t.is((by === own ? other : own).transfer.takeSocketForReading(socket), null);
    peer.write(text);
    const bytes = Buffer.alloc(100);
    let length = -1;
    while (length < 0) {
      length = by.core.syscalls.recv(taken.descriptor(), bytes, bytes.length, 0);
      if (length < 0) await new Promise((resolve) => setTimeout(resolve, 2));
    }
    taken.moved(length);
    t.is(bytes.toString('latin1', 0, length), text);
    taken.giveBack({ resume: false });
  };
  await read(own, 'by the first');
  await read(other, 'by the second');
  await read(own, 'again');
  peer.end('by Node');
  t.is((await received(socket)).toString(), 'by Node');
  t.is(socket.bytesRead, 'by the firstby the secondagainby Node'.length);
});
