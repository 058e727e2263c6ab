/**
 * Buffers that processes and threads hand to each other without a copy (fbufs: Druschel and Peterson, SOSP 1993): of one
 * size, in one sealed memory file that each of them has mapped.
 */
import { invalidArgument, readOptions, validateCount } from '@zerocopy/transfer';
import { feature } from './feature.js';
import { PoolMemory, type SharedBufferHandle } from './pool-memory.js';
import { MAX_VIEW } from './view.js';

/** The options of {@link SharedBufferPool}. */
export interface SharedBufferPoolOptions {
  /** Bytes of each buffer. */
  bufferSize: number;
  /** How many there are. */
  count: number;
}

function assertAvailable(): void {
  for (const name of ['mmap', 'memfdSeals'] as const) {
    const { available, reason } = feature(name);
    if (available) continue;
    throw Object.assign(new Error(`there can be no shared buffers: ${reason}`), { code: 'ERR_ZEROCOPY_UNAVAILABLE' });
  }
}

const forgotten = new FinalizationRegistry<PoolMemory>((memory) => memory.forget());

/** A reference to one buffer of a pool. */
export class SharedBuffer implements Disposable {
  /** All of it. Not to be used after {@link release}: the bytes are the next holder's then. */
  readonly buffer: Buffer;
  readonly #memory: PoolMemory;
  readonly #index: number;
  /** Its memory is the pool's. */
  readonly #pool: SharedBufferPool;
  #released = false;

  /** @internal */
  constructor(pool: SharedBufferPool, memory: PoolMemory, index: number) {
    this.#pool = pool;
    this.#memory = memory;
    this.#index = index;
    this.buffer = memory.buffer(index);
  }

  /** The pool that it is a buffer of, and that it keeps open. */
  get pool(): SharedBufferPool {
    return this.#pool;
  }

  /**
   * One more reference, for another thread or process that has the pool open: a small object for `postMessage` or
   * `process.send`. It counts until it is opened, once; if it never arrives, open it here and release it. This holder
   * keeps its own.
   */
  share(): SharedBufferHandle {
    if (this.#released) throw Object.assign(new Error('the buffer has been released'), { code: 'ERR_INVALID_STATE' });
    return this.#memory.share(this.#index);
  }

  /** Idempotent. With the last reference to it, of whichever holder, the buffer is free. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#memory.release(this.#index);
  }

  /** {@link release}. */
  [Symbol.dispose](): void {
    this.release();
  }
}

/** Buffers of one size in a memory file that threads and processes have mapped. */
export class SharedBufferPool implements Disposable {
  /** Bytes of each buffer. */
  readonly bufferSize: number;
  /** How many buffers there are. */
  readonly count: number;
  /**
   * The sealed memory file: for another thread, which opens the number, or a child process, which inherits it:
   * `spawn(…, { stdio: ['inherit', 'inherit', 'inherit', pool.fd] })`. Closed with the pool.
   */
  readonly fd: number;
  readonly #memory: PoolMemory;

  /**
   * Makes a pool.
   * @throws {SyscallError} ENOMEM, EMFILE. An Error ERR_ZEROCOPY_UNAVAILABLE.
   */
  constructor(options: SharedBufferPoolOptions | PoolMemory) {
    if (options instanceof PoolMemory) this.#memory = options;
    else {
      const { bufferSize, count } = readOptions<SharedBufferPoolOptions>(options, ['bufferSize', 'count']);
      validateCount(bufferSize, 'bufferSize', 1, MAX_VIEW);
      validateCount(count, 'count', 1, 2 ** 20);
      assertAvailable();
      this.#memory = PoolMemory.create({ bufferSize, count });
    }
    this.bufferSize = this.#memory.shape.bufferSize;
    this.count = this.#memory.shape.count;
    this.fd = this.#memory.fd;
    forgotten.register(this, this.#memory, this);
  }

  /**
   * Opens a pool that another thread or process has made.
   * @param fd its descriptor; stays the caller's.
   * @throws {Error} ERR_INVALID_POOL; ERR_POOL_TOO_MANY_HOLDERS beyond 32 at a time.
   */
  static open(fd: number): SharedBufferPool {
    validateCount(fd, 'fd', 0, 2 ** 31 - 1);
    assertAvailable();
    return new SharedBufferPool(new PoolMemory(fd));
  }

  /** Buffers that are free now. */
  get available(): number {
    return this.#memory.free;
  }

  /**
   * A free buffer, whatever it holds from before; or undefined if there is none, not even after {@link reclaim}.
   * It must be released.
   */
  acquire(): SharedBuffer | undefined {
    let index = this.#memory.acquire();
    if (index < 0 && this.reclaim() > 0) index = this.#memory.acquire();
    return index < 0 ? undefined : new SharedBuffer(this, this.#memory, index);
  }

  /** The same as {@link SharedBuffer.release}. */
  release(buffer: SharedBuffer): void {
    if (!(buffer instanceof SharedBuffer) || buffer.pool !== this) {
      throw invalidArgument('buffer', 'a SharedBuffer of this pool', buffer);
    }
    buffer.release();
  }

  /**
   * The buffer that another holder has sent, with the reference that came with it.
   * @throws {Error} ERR_INVALID_HANDLE if it has been opened before, or its sender is gone.
   */
  open(handle: SharedBufferHandle): SharedBuffer {
    if (typeof handle !== 'object' || handle === null) throw invalidArgument('handle', 'a handle', handle);
    return new SharedBuffer(this, this.#memory, this.#memory.open(handle));
  }

  /** Takes back what crashed processes and terminated threads had. @returns how many buffers are free by that. */
  reclaim(): number {
    return this.#memory.reclaim();
  }

  /** Releases all that this holder has, unopened handles included. Its views show zeros from now on. */
  close(): void {
    forgotten.unregister(this);
    this.#memory.close();
  }

  /** {@link close}. */
  [Symbol.dispose](): void {
    this.close();
  }
}
