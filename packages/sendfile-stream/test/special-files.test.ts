/**
 * What is not a regular file is looked at without opening it (kernel-rules: fifo-open): the only one who opens it is Node, as
 * by fs.createReadStream, and once.
 */
import { once } from 'node:events';
import { mkdirSync, symlinkSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { constants, type TransferError } from '@zerocopy/core-syscalls';
import { wrapBindings } from '@zerocopy/core-syscalls/native';
import type { createSendfileStream as Create, sendFile as Send } from '@zerocopy/sendfile-stream';
import { fifoWithWriter } from '@zerocopy/testing/fifo';
import {
  collect,
  get,
  kernelSerial,
  pattern,
  temporaryDirectory,
  withHttpServer,
  withSockets,
  writeFile,
} from './harness.js';

interface Opening {
  readonly path: string;
  readonly flags: number;
}

/** Every openat2(2) of this process. */
const openings: Opening[] = [];
wrapBindings((native, prototype) => {
  if (!prototype.includes('void *how')) return native;
  const call = (...args: Parameters<typeof native>): number => {
    const [, , path, how] = args as unknown as [number, number, string, Uint32Array];
    openings.push({ path, flags: how[0] ?? 0 });
    return native(...args);
  };
  return Object.assign(call, { async: native.async });
});
const { createSendfileStream, sendFile } = (await import('@zerocopy/sendfile-stream')) as {
  createSendfileStream: typeof Create;
  sendFile: typeof Send;
};

const directory = temporaryDirectory();
const message = 'what was written by a process that had waited for a reader';

const ways: Readonly<Record<string, (server: net.Socket, path: string) => Promise<unknown>>> = {
  sendFile: (server, path) => sendFile(server, path),
  createSendfileStream: (server, path) => pipeline(createSendfileStream(path), server, { end: false }),
};

for (const [way, send] of Object.entries(ways)) {
  kernelSerial(`${way}: a writer that waits in open(2) for a FIFO's reader loses nothing, ten times`, async (t) => {
    for (let n = 0; n < 10; n++) {
      const path = join(directory, `${way}-${n}`);
      const { exit } = await fifoWithWriter(path, message);
      await withSockets('tcp', async (server, client) => {
        const received = collect(client);
        await send(server, path);
        server.end();
        t.is((await received).toString(), message);
      });
      t.is(await exit, 0);
    }
  });
}

const opensByName = (path: string): Opening[] => openings.filter((opening) => opening.path === path);

kernelSerial('a device, a directory, a FIFO, a socket and links to them are only looked at', async (t) => {
  const folder = join(directory, 'folder');
  mkdirSync(folder);
  const socket = join(directory, 'socket');
  const listener = net.createServer().listen(socket);
  await once(listener, 'listening');
  const linked = join(directory, 'linked');
  symlinkSync('/dev/null', linked);
  for (const path of ['/dev/null', folder, socket, linked]) {
    openings.length = 0;
    await withSockets('tcp', async (server, client) => {
      client.on('error', () => {}); // a failed transfer resets the connection
      await sendFile(server, path).catch(() => {});
    });
    t.is(opensByName(path).length, 1);
    t.true(openings.every(({ flags }) => (flags & constants.O_PATH) !== 0));
  }
  listener.close();
});

kernelSerial('a regular file is opened as the one that was looked at', async (t) => {
  const path = writeFile(join(directory, 'regular'), pattern(1000));
  openings.length = 0;
  await withSockets('tcp', async (server, client) => {
    await sendFile(server, path);
    server.end();
    t.is((await collect(client)).length, 1000);
  });
  const [seen, opened] = openings;
  t.deepEqual(
    openings.map(({ path: name }) => name.replace(/\d+$/, 'N')),
    [path, '/proc/self/fd/N'],
  );
  t.is((seen?.flags ?? 0) & constants.O_PATH, constants.O_PATH);
  t.is((opened?.flags ?? 0) & constants.O_PATH, 0);
});

kernelSerial('what cannot be read leaves the destination as it was, as what cannot be opened does', async (t) => {
  const folder = join(directory, 'unreadable');
  mkdirSync(folder);
  for (const path of [folder, '/proc/self/mem']) {
    const code = path === folder ? 'EISDIR' : 'EIO';
    await withSockets('tcp', async (server, client) => {
      const failure = await t.throwsAsync(sendFile(server, path), { code });
      t.is((failure as TransferError).bytes, 0);
      server.end('still open');
      t.is(String(await collect(client)), 'still open');
    });
    await withHttpServer(
      async (_request, response) => {
        await t.throwsAsync(sendFile(response, path), { code });
        response.writeHead(404).end('no such file');
      },
      async (port) => {
        const { status, body } = await get(port);
        t.is(status, 404);
        t.is(String(body), 'no such file');
      },
    );
  }
});
