/** How the bytes of a stream go, and why not faster; and what becomes of a stream that must not be copied. */
import type { Readable, Writable } from 'node:stream';
import type { TransferMethod } from '@zerocopy/core-syscalls';
import { KernelPathUnavailableError } from './errors.js';

/** What a stream tells as `method` and `fallbackReason`, and the one place where its option `fallback` is obeyed. */
export class MethodRecord {
  readonly #stream: Readable | Writable;
  readonly #refuses: string | undefined;
  #method: TransferMethod | undefined;
  #fallbackReason: string | undefined;

  /**
   * @param refuses what its error says where the option `fallback` is 'never', for instance 'the kernel cannot send this
   * file'; undefined where copying is allowed.
   */
  constructor(stream: Readable | Writable, refuses?: string) {
    this.#stream = stream;
    this.#refuses = refuses;
  }

  /** Undefined while it is not decided. */
  get method(): TransferMethod | undefined {
    return this.#method;
  }

  /** Why `method` is 'copy', in words. */
  get fallbackReason(): string | undefined {
    return this.#fallbackReason;
  }

  /** Notes the way that the bytes take from now on. */
  goes(method: TransferMethod, fallbackReason?: string): void {
    this.#method = method;
    this.#fallbackReason = fallbackReason;
  }

  /** Notes that Node's own way is taken from now on; or destroys the stream, where that is not wanted. */
  fallBack(reason: string): void {
    if (this.#refuses === undefined) this.goes('copy', reason);
    else this.#stream.destroy(new KernelPathUnavailableError(this.#refuses, reason));
  }
}
