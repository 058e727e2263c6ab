/** Memory that two threads share, by mmap-buffer. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { SharedBufferPool } from '@zerocopy/mmap-buffer';
import type { PoolAnswer, PoolRequest } from './pool-peer.worker.js';
import { remembering } from './remembering.js';
import type { Way } from './way.js';

let poolPeer: Worker | undefined;
let lastAnswer: Promise<unknown> = Promise.resolve();

/** The other thread: undisturbed, and there for as long as the process. It is asked one thing after the other. */
function askPeer(request: PoolRequest): Promise<PoolAnswer> {
  if (poolPeer === undefined) {
    poolPeer = new Worker(new URL('./pool-peer.worker.js', import.meta.url), { trackUnmanagedFds: false });
    poolPeer.unref();
  }
  const peer = poolPeer;
  const answered = lastAnswer.then(async () => {
    peer.postMessage(request);
    const [answer] = (await once(peer, 'message')) as [PoolAnswer];
    return answer;
  });
  lastAnswer = answered;
  return answered;
}

const BUFFERS = 4;
const bufferSizeOf = (content: Buffer): number => Math.ceil(content.length / BUFFERS);

function closeQuietly(pool: SharedBufferPool | undefined): void {
  try {
    pool?.close();
  } catch {} // what failed first is told
}

const poolMade = remembering(
  'SharedBufferPool, filled for another thread',
  async ({ content }) => {
    await askPeer({ kind: 'hello' });
    let pool: SharedBufferPool | undefined;
    try {
      const bufferSize = bufferSizeOf(content);
      pool = new SharedBufferPool({ bufferSize, count: BUFFERS });
      const handles = [];
      for (let at = 0; at < content.length; at += bufferSize) {
        const shared = pool.acquire();
        if (shared === undefined) throw new Error('the pool has no buffer');
        content.copy(shared.buffer, 0, at, at + bufferSize);
        handles.push(shared.share());
        pool.release(shared);
      }
      const answer = await askPeer({ kind: 'read', fd: pool.fd, handles });
      if (answer.kind !== 'bytes') throw new Error(`the other thread answered ${answer.kind}`);
      if (pool.available !== BUFFERS) throw new Error(`${pool.available} of ${BUFFERS} buffers are free afterwards`);
      pool.close();
      return [Buffer.from(answer.bytes).subarray(0, content.length)];
    } catch (failure) {
      closeQuietly(pool);
      throw failure;
    }
  },
  { needs: ['mmap', 'memfdSeals'] },
);

const poolOpened = remembering(
  'SharedBufferPool, opened from another thread',
  async ({ content }) => {
    const answer = await askPeer({ kind: 'fill', bufferSize: bufferSizeOf(content), count: BUFFERS, content });
    if (answer.kind !== 'filled') throw new Error(`the other thread answered ${answer.kind}`);
    let pool: SharedBufferPool | undefined;
    try {
      pool = SharedBufferPool.open(answer.fd);
      const parts: Buffer[] = [];
      for (const handle of answer.handles) {
        using shared = pool.open(handle);
        parts.push(Buffer.from(shared.buffer));
      }
      pool.reclaim();
      pool.close();
      return [Buffer.concat(parts).subarray(0, content.length)];
    } catch (failure) {
      closeQuietly(pool);
      throw failure;
    } finally {
      await askPeer({ kind: 'close', fd: answer.fd });
    }
  },
  { needs: ['mmap', 'memfdSeals'] },
);

export const sharedPoolWays: readonly Way[] = [poolMade, poolOpened];
