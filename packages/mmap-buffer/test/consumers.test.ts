/** Views handed to what Node has: hashes, zlib, decoders, files, sockets, workers; and closed while they are in use. */
import { createHash, randomFill, scrypt } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream, readFileSync, truncateSync } from 'node:fs';
import { open } from 'node:fs/promises';
import net, { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { createGzip, gunzipSync, gzip } from 'node:zlib';
import { syscalls } from '@zerocopy/core-syscalls';
import { mapFile, mapFileSync } from '@zerocopy/mmap-buffer';
import {
  collectGarbage,
  elsewhere,
  fixture,
  MiB,
  makeFile,
  mapSerial,
  mapTest,
  openDescriptors,
  pattern,
  sha256,
  temporaryDirectory,
  until,
} from './harness.js';

const directory = temporaryDirectory();
const content = pattern(3 * MiB + 17);
const page = syscalls.getpagesize();

mapTest('crypto, zlib, TextDecoder, Blob, structuredClone, fs: a view is a Buffer like any other', async (t) => {
  const mapped = await mapFile(makeFile(directory, content));
  const { buffer } = mapped;
  t.is(createHash('sha256').update(buffer).digest('hex'), sha256(content));
  t.true(gunzipSync(await promisify(gzip)(buffer)).equals(content));
  t.is(
    new TextDecoder('latin1').decode(buffer.subarray(0, 1000)),
    new TextDecoder('latin1').decode(content.subarray(0, 1000)),
  );
  t.true(Buffer.from(await new Blob([buffer]).arrayBuffer()).equals(content));
  const clone = structuredClone(buffer);
  t.true(Buffer.from(clone).equals(content));
  t.true(Buffer.from(structuredClone(buffer.buffer, { transfer: [] })).equals(content));
  t.is(
    buffer.indexOf(content.subarray(2 * MiB, 2 * MiB + 64)),
    content.indexOf(content.subarray(2 * MiB, 2 * MiB + 64)),
  );

  const path = join(directory, 'written');
  const file = await open(path, 'w');
  await file.writev([buffer.subarray(0, MiB), buffer.subarray(MiB)]);
  await file.close();
  t.true(readFileSync(path).equals(content));
  await pipeline(Readable.from(mapped.windows(100_000)), createWriteStream(path));
  t.true(readFileSync(path).equals(content));
  await mapped.close();
  t.true(Buffer.from(clone).equals(content), 'a clone is a copy');
});

mapTest('transferring a view: a copy goes (Node 20), or it is refused (Node 22); the view stays usable', async (t) => {
  const mapped = await mapFile(makeFile(directory, content));
  const memory = mapped.buffer.buffer as ArrayBuffer;
  try {
    const moved = structuredClone(memory, { transfer: [memory] });
    t.true(Buffer.from(moved).equals(content));
  } catch (error) {
    t.is((error as Error).name, 'DataCloneError');
    t.true(mapped.buffer.equals(content));
  }
  await mapped.close();
  await collectGarbage();
  t.true(mapped.closed);
});

mapTest('mmap + write: a socket gets the file, from views, whatever it takes at a time', async (t) => {
  const mapped = await mapFile(makeFile(directory, content));
  const server = net.createServer((socket) => {
    for (const window of mapped.windows(300_001)) socket.write(window);
    socket.end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = net.connect((server.address() as AddressInfo).port, '127.0.0.1');
  const hash = createHash('sha256');
  for await (const chunk of client) hash.update(chunk as Buffer);
  t.is(hash.digest('hex'), sha256(content));
  server.close();
  await mapped.close();
});

mapTest(
  'the kernel reads a truncated mapping without a signal: EFAULT, or a short count (kernel-rules: sigbus)',
  async (t) => {
    const path = makeFile(directory, Buffer.alloc(4 * page, 'm'));
    const mapped = mapFileSync(path, { guard: 'none' });
    const pipe = new Int32Array(2);
    t.is(syscalls.pipe2(pipe, 0), 0);
    const [readEnd, writeEnd] = [...pipe] as [number, number];
    const { buffer } = mapped;
    truncateSync(path, 2 * page);
    t.is(syscalls.write(writeEnd, buffer.subarray(2 * page), page), -14, 'EFAULT where there is nothing');
    t.is(syscalls.write(writeEnd, buffer.subarray(page), 3 * page), page, 'up to the end');
    syscalls.close(readEnd);
    syscalls.close(writeEnd);
    await mapped.close();
  },
);

mapTest('closed while other threads read it, and write to it: zeros at worst', async (t) => {
  for (let round = 0; round < 20; round++) {
    const mapped = await mapFile(makeFile(directory, content), { access: round % 2 ? 'private' : 'read' });
    const view = mapped.buffer;
    const zipping = promisify(gzip)(view);
    const hashing = promisify(scrypt)(view, view.subarray(0, 16), 64);
    const filling = new Promise((resolve) => randomFill(view.subarray(MiB, MiB + 1000), resolve));
    const file = await open(join(directory, `closing-${round}`), 'w');
    const writing = file.write(view, 0, view.length, 0);
    const gzipping = pipeline(Readable.from(mapped.windows(64 * 1024)), createGzip(), async (source) => {
      for await (const chunk of source) void chunk;
    });
    if (round % 3) await new Promise((resolve) => setTimeout(resolve, round % 5));
    await mapped.close();
    t.is(gunzipSync(await zipping).length, content.length);
    t.is((await writing).bytesWritten, content.length);
    await hashing;
    await filling;
    await gzipping.catch(() => {});
    await file.close();
  }
});

mapTest('closed while it is flushed, populated, locked and resized', async (t) => {
  for (let round = 0; round < 30; round++) {
    const path = makeFile(directory, Buffer.alloc(100 * page));
    const mapped = await mapFile(path, { access: 'write' });
    mapped.buffer.fill(round);
    const calls = [mapped.flushAsync(), mapped.populate(), mapped.lock({ length: page }), mapped.resize(200 * page)];
    if (round % 2) await new Promise((resolve) => setImmediate(resolve));
    await mapped.close();
    for (const result of await Promise.allSettled(calls)) {
      if (result.status === 'rejected') t.is((result.reason as { code: string }).code, 'ERR_MAPPING_CLOSED');
    }
    t.is(readFileSync(path)[99 * page], round);
  }
});

mapSerial(
  'worker threads: each with its own mapping, terminated in the middle; nobody waits for their leases',
  async (t) => {
    const path = makeFile(directory, content);
    await elsewhere(path, ''); // with its first child Node opens a descriptor that it keeps
    const before = openDescriptors();
    const workers = await Promise.all(
      [1, 2, 3].map(async () => {
        const worker = new Worker(fixture('mapping-worker'), { workerData: { path } });
        const [hash] = (await once(worker, 'message')) as [string];
        t.is(hash, sha256(content));
        return worker;
      }),
    );
    await Promise.all(workers.map((worker) => worker.terminate()));
    // The kernel would hold this up for 45 s, on behalf of a thread that is gone.
    await elsewhere(path, 'fs.truncateSync(path, 0)');
    const again = await mapFile(path, { access: 'write' });
    await again.resize(10);
    t.is(again.buffer.length, 10);
    await again.close();
    await until(() => openDescriptors() <= before, 'their descriptors are closed');
  },
);
