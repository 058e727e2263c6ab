/** Every kind of source and destination, sizes around what matters, several chunkings; the peer in another process. */
import { open, readFile, writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { splice } from '@zerocopy/splice-pipe';
import test from 'ava';
import { KiB, type Kind, kernelTest, listen, MiB, Peer, pattern, sha256, temporaryDirectory } from './harness.js';

const directory = temporaryDirectory();
const peer = new Peer();
test.after.always(() => peer.stop());

const sizes = [0, 1, 10, 4095, 4096, 64 * KiB, 64 * KiB + 1, 3 * MiB + 7];
if (process.env.ZEROCOPY_TEST_LARGE !== undefined) sizes.push(1024 * MiB);
const LARGE = 16 * MiB;
const chunkings = [
  { name: 'as it comes', chunk: 256 * KiB, gaps: false },
  { name: 'in small writes', chunk: 1000, gaps: true },
];

interface Heard {
  readonly bytes: number;
  readonly sha256: string;
}

/** A connection whose other side, in the child, writes `send` bytes and hashes what it gets. */
async function converse(
  kind: Kind,
  send: number,
  chunking: { chunk: number; gaps: boolean },
): Promise<{ socket: Socket; heard: Promise<Heard> }> {
  let accept: (socket: Socket) => void = () => {};
  const accepted = new Promise<Socket>((resolve) => {
    accept = resolve;
  });
  const { address, close } = await listen(kind, directory, accept);
  const heard = peer.converse({ address, send, chunk: chunking.chunk, gaps: chunking.gaps });
  const socket = await accepted;
  close();
  return { socket, heard };
}

const silent = { chunk: 1, gaps: false };
const expected = new Map<number, string>();
function hashOf(size: number): string {
  if (!expected.has(size)) expected.set(size, sha256(pattern(size)));
  return expected.get(size) as string;
}

function sizesFor(gaps: boolean): number[] {
  return gaps ? sizes.filter((size) => size <= MiB) : [...sizes, LARGE];
}

for (const from of ['tcp', 'unix'] as const) {
  for (const to of ['tcp', 'unix'] as const) {
    for (const { name, ...chunking } of chunkings) {
      kernelTest(`${from} → ${to}, ${name}: the peer's hash, every size`, async (t) => {
        for (const size of sizesFor(chunking.gaps)) {
          const source = await converse(from, size, chunking);
          const destination = await converse(to, 0, silent);
          const result = await splice(source.socket, destination.socket);
          destination.socket.end();
          source.socket.end();
          t.is(result.bytes, size);
          t.like(await destination.heard, { bytes: size, sha256: hashOf(size) });
          if (size >= MiB) t.is(result.method, 'splice');
          t.is(source.socket.bytesRead, size);
          t.is(destination.socket.bytesWritten, size);
          await source.heard;
        }
      });
    }
  }

  kernelTest(`${from} → file, and file → ${from}: every size`, async (t) => {
    for (const { chunk, gaps } of chunkings) {
      for (const size of sizesFor(gaps)) {
        const path = join(directory, `${from}-${chunk}-${size}`);
        const source = await converse(from, size, { chunk, gaps });
        const file = await open(path, 'w');
        const result = await splice(source.socket, file);
        source.socket.end();
        await file.close();
        t.is(result.bytes, size);
        t.is(sha256(await readFile(path)), hashOf(size));
        await source.heard;
        const destination = await converse(from, 0, silent);
        const again = await open(path, 'r');
        const sent = await splice(again, destination.socket);
        destination.socket.end();
        await again.close();
        t.like(sent, { bytes: size, method: 'splice' });
        t.like(await destination.heard, { bytes: size, sha256: hashOf(size) });
      }
    }
  });

  kernelTest(`${from}: with a length, exactly so much, and the rest stays in the source`, async (t) => {
    const size = 3 * MiB;
    for (const length of [0, 1, 100_000, 2 * MiB + 3, size, size + 1]) {
      const source = await converse(from, size, chunkings[0] as { chunk: number; gaps: boolean });
      const destination = await converse(from, 0, silent);
      const first = Math.min(length, size);
      t.is((await splice(source.socket, destination.socket, { length })).bytes, first);
      // Given back: an ordinary stream again, from the very next byte.
      source.socket.pipe(destination.socket);
      t.like(await destination.heard, { bytes: size, sha256: hashOf(size) });
      source.socket.end();
      await source.heard;
    }
  });
}

test('file → file goes through the pipe as well, or falls back', async (t) => {
  const content = pattern(2 * MiB);
  await writeFile(join(directory, 'from'), content);
  const from = await open(join(directory, 'from'), 'r');
  const to = await open(join(directory, 'to'), 'w');
  const { bytes } = await splice(from, to, { length: MiB + 1 });
  t.is(bytes, MiB + 1);
  t.is((await splice(from, to)).bytes, MiB - 1, 'the position has moved by what was asked for');
  await from.close();
  await to.close();
  t.true((await readFile(join(directory, 'to'))).equals(content));
});
