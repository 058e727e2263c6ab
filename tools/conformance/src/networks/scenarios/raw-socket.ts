/** Files and writes in turn on a plain socket: their order is part of what is hashed. */
import { join } from 'node:path';
import { sendFile } from '@zerocopy/sendfile-stream';
import { bytesOf, fingerprintOf } from '@zerocopy/testing/bytes';
import { CONTENT, closed, connect, type Passage, receive, type Scenario, serveOnce } from './scenario.js';

const NAME = 'sendFile, socket';
const HEADER = Buffer.from('what comes before, ');
const BETWEEN = Buffer.from(', what comes between, ');
const TRAILER = Buffer.from(', and what comes after');
const RANGE_START = 70_001;

/** Piece by piece: what the other side is to have got. */
function* everything(seed: number, size: number): Generator<Uint8Array> {
  yield HEADER;
  yield* bytesOf(CONTENT, seed, size);
  yield BETWEEN;
  let skip = RANGE_START;
  for (const chunk of bytesOf(CONTENT, seed, size)) {
    yield chunk.subarray(Math.min(skip, chunk.length));
    skip -= Math.min(skip, chunk.length);
  }
  yield TRAILER;
}

export const rawSocket: Scenario = {
  name: NAME,

  serve: ({ address, directory, size, seed }) =>
    serveOnce(address, async (socket) => {
      const path = join(directory, CONTENT);
      socket.resume();
      socket.write(HEADER);
      const all = await sendFile(socket, path);
      socket.write(BETWEEN);
      const range = await sendFile(socket, path, { start: RANGE_START });
      socket.end(TRAILER);
      await closed(socket);
      const passages: Passage[] = [{ name: NAME, ...fingerprintOf(everything(seed, size)) }];
      for (const [at, { bytes, method, fallbackReason }] of [all, range].entries()) {
        passages.push({ name: `${NAME}: file ${at + 1}`, bytes, method, fallbackReason });
      }
      return passages;
    }),

  async visit({ peerAddress, size, middle }, [port]) {
    const socket = await connect(peerAddress, port as number);
    const received = await receive(socket, 2 * size, middle);
    socket.end();
    return [
      { name: NAME, ...received },
      { name: `${NAME}: file 1`, bytes: size },
      { name: `${NAME}: file 2`, bytes: size - RANGE_START },
    ];
  },
};
