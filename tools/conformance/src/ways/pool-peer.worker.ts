/** The thread at the other end of a SharedBufferPool: reads what it is given, or fills buffers of its own. */
import { parentPort } from 'node:worker_threads';
import { type SharedBufferHandle, SharedBufferPool } from '@zerocopy/mmap-buffer';

export type PoolRequest =
  | { readonly kind: 'hello' }
  | { readonly kind: 'read'; readonly fd: number; readonly handles: readonly SharedBufferHandle[] }
  | { readonly kind: 'fill'; readonly bufferSize: number; readonly count: number; readonly content: Uint8Array }
  | { readonly kind: 'close'; readonly fd: number };

export type PoolAnswer =
  | { readonly kind: 'done' }
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  | { readonly kind: 'filled'; readonly fd: number; readonly handles: readonly SharedBufferHandle[] };

/** Those that are filled and not yet closed, by their descriptors: several may be asked for at a time. */
const pools = new Map<number, SharedBufferPool>();

function answer(request: PoolRequest): PoolAnswer {
  if (request.kind === 'read') {
    using opened = SharedBufferPool.open(request.fd);
    const parts = request.handles.map((handle) => {
      using shared = opened.open(handle);
      return Buffer.from(shared.buffer);
    });
    return { kind: 'bytes', bytes: Buffer.concat(parts) };
  }
  if (request.kind === 'fill') {
    const { bufferSize, count, content } = request;
    const pool = new SharedBufferPool({ bufferSize, count });
    pools.set(pool.fd, pool);
    const handles: SharedBufferHandle[] = [];
    for (let at = 0; at < content.length; at += bufferSize) {
      const shared = pool.acquire();
      if (shared === undefined) throw new Error('the pool has no buffer');
      shared.buffer.set(content.subarray(at, at + bufferSize));
      handles.push(shared.share());
      shared.release();
    }
    return { kind: 'filled', fd: pool.fd, handles };
  }
  if (request.kind === 'close') {
    pools.get(request.fd)?.close();
    pools.delete(request.fd);
  }
  return { kind: 'done' };
}

parentPort?.on('message', (request: PoolRequest) => parentPort?.postMessage(answer(request)));
