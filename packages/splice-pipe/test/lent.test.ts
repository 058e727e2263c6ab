/** Descriptors that are lent by number: the mode of what they share with others is given back. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type net from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { check, constants, descriptorOf, syscalls } from '@zerocopy/core-syscalls';
import { splice, tee } from '@zerocopy/splice-pipe';
import { collect, kernelSerial, kernelTest, openDescriptors, temporaryDirectory, until, withPair } from './harness.js';

const directory = temporaryDirectory();
const { F_GETFL, O_CLOEXEC, O_NONBLOCK } = constants;

/** A pipe in blocking mode, as a shell makes it. */
function blockingPipe(): { read: number; write: number; close(): void } {
  const fds = new Int32Array(2);
  check(syscalls.pipe2(fds, O_CLOEXEC), 'pipe2');
  const [read, write] = fds as unknown as [number, number];
  return {
    read,
    write,
    close() {
      for (const fd of [read, write]) closeSync(fd);
    },
  };
}

const blocks = (fd: number): boolean => (syscalls.fcntl(fd, F_GETFL) & O_NONBLOCK) === 0;

kernelSerial('a lent pipe blocks again afterwards, however the transfer ends; no descriptor stays', async (t) => {
  await withPair('tcp', directory, async ({ server: socket, client }) => {
    client.resume();
    const before = openDescriptors();
    const ends: Record<string, (pipe: ReturnType<typeof blockingPipe>) => Promise<unknown>> = {
      'read from, a length': (pipe) => {
        writeSync(pipe.write, 'some');
        return splice(pipe.read, socket, { length: 4 });
      },
      'read from, aborted': (pipe) => splice(pipe.read, socket, { signal: AbortSignal.timeout(20) }),
      'read from, copied': (pipe) => {
        writeSync(pipe.write, 'some');
        return splice(pipe.read, new PassThrough(), { length: 4 });
      },
      'read from, refused': (pipe) => splice(pipe.read, new PassThrough(), { fallback: 'never' }),
      'read from by a tee': (pipe) => {
        writeSync(pipe.write, 'some');
        return tee(pipe.read, [socket], { length: 4 });
      },
      'written to': (pipe) => {
        client.write('some');
        return splice(socket, pipe.write, { length: 4 });
      },
      'written to, aborted': (pipe) => splice(socket, pipe.write, { signal: AbortSignal.timeout(20) }),
    };
    for (const [way, use] of Object.entries(ends)) {
      const pipe = blockingPipe();
      await use(pipe).catch(() => {});
      t.true(blocks(pipe.read) && blocks(pipe.write), way);
      pipe.close();
    }
    await until(() => openDescriptors() <= before, 'all is closed, the pipes of the pool included');
    t.pass();
  });
});

kernelTest('a lent pipe that has lost its reader blocks again, too', async (t) => {
  await withPair('tcp', directory, async ({ server: socket, client }) => {
    const pipe = blockingPipe();
    closeSync(pipe.read);
    client.end(Buffer.alloc(1000));
    await t.throwsAsync(splice(socket, pipe.write), { code: 'EPIPE' });
    t.true(blocks(pipe.write));
    closeSync(pipe.write);
  });
});

kernelTest('lent twice at once, it blocks again when the last transfer has ended, and not before', async (t) => {
  await withPair('tcp', directory, async ({ server: one, client: oneReader }) => {
    await withPair('tcp', directory, async ({ server: two, client: twoReader }) => {
      oneReader.resume();
      twoReader.resume();
      const pipe = blockingPipe();
      writeSync(pipe.write, 'some');
      const first = splice(pipe.read, one, { length: 4 });
      const stop = new AbortController();
      const second = splice(pipe.read, two, { signal: stop.signal });
      await first.catch(() => stop.abort());
      if (!stop.signal.aborted) t.false(blocks(pipe.read));
      stop.abort();
      await second.catch(() => {});
      t.true(blocks(pipe.read));
      pipe.close();
    });
  });
});

kernelTest('a lent socket in blocking mode blocks again; one that does not block is left so', async (t) => {
  const program = "const fs = require('node:fs'); fs.writeSync(3, 'some'); setTimeout(() => {}, 500);";
  await withPair('unix', directory, async ({ server: socket, client }) => {
    const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'ignore', 'inherit', 'pipe'] });
    const theirs = child.stdio[3] as net.Socket;
    const fd = descriptorOf(theirs) as number;
    t.false(blocks(fd));
    const received = collect(client);
    await splice(fd, socket, { length: 4 });
    t.false(blocks(fd));
    socket.end();
    t.is(String(await received), 'some');
    child.kill();
    await once(child, 'close');
  });
  const fds = new Int32Array(2);
  check(syscalls.socketpair(1, constants.SOCK_STREAM | O_CLOEXEC, 0, fds), 'socketpair');
  const [near, far] = fds as unknown as [number, number];
  const file = await open(join(directory, 'lent'), 'w');
  writeSync(far, 'some');
  await splice(near, file, { length: 4 });
  t.true(blocks(near) && blocks(far));
  await file.close();
  closeSync(near);
  closeSync(far);
});
