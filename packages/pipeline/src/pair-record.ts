/** How the bytes of one pipe go, counted for `stats`. */
import type { Readable } from 'node:stream';
import type { TransferMethod } from '@zerocopy/core-syscalls';
import { MethodRecord } from '@zerocopy/transfer';
import type { PipeKind } from './pipe-kind.js';
import { countBytes, countDeclined, countHandedBack, countTransfer } from './stats.js';

/** The record of one pair. */
export class PairRecord extends MethodRecord {
  readonly #kind: PipeKind;
  readonly #kernel: TransferMethod;
  #hasMoved = false;
  #isTold = false;

  /** @param kernel how its bytes go beneath the pipe, as long as nothing else is said. */
  constructor(source: Readable, kind: PipeKind, kernel: TransferMethod) {
    super(source);
    this.#kind = kind;
    this.#kernel = kernel;
  }

  /** Counts bytes that have gone beneath the pipe. */
  moved(bytes: number): void {
    if (bytes <= 0) return;
    if (!this.#hasMoved) countTransfer(this.#kind);
    this.#hasMoved = true;
    countBytes(this.method ?? this.#kernel, bytes);
  }

  /** Node goes on by itself, for `reason`. Only the first is counted. */
  override fallBack(reason: string): void {
    super.fallBack(reason);
    if (this.#isTold) return;
    this.#isTold = true;
    if (this.#hasMoved) countHandedBack(reason);
    else countDeclined(reason);
  }
}
