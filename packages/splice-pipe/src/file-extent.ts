/** What a file has when it begins to be read: by that a file which is cut short on its way is told from one that ends. */
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { factsOf, fileStatus, isRegularFile } from '@zerocopy/core-syscalls/descriptors';
import { endedEarly, OwnedDescriptor, type TransferError } from '@zerocopy/transfer';

/** See above. */
export class FileExtent {
  /** Bytes from the descriptor's position to the end of the file. */
  readonly bytes: number;
  readonly #own: OwnedDescriptor;
  readonly #position: number;

  private constructor(own: OwnedDescriptor, position: number, bytes: number) {
    this.#own = own;
    this.#position = position;
    this.bytes = bytes;
  }

  /** @returns undefined where the file does not say how long it is (kernel-rules: st-size-lies), or there are no more descriptors. */
  static of(fd: number): FileExtent | undefined {
    const facts = factsOf(fd);
    const { size, blocks, filesystem } = facts;
    if (!isRegularFile(facts) || size === 0 || (blocks === 0 && filesystem.kind === 'pseudo')) return undefined;
    const position = syscalls.lseek(fd, 0, constants.SEEK_CUR);
    if (position < 0 || position >= size) return undefined;
    const own = OwnedDescriptor.tryDuplicate(fd);
    return own === null ? undefined : new FileExtent(own, position, size - position);
  }

  /** Why `bytes` are fewer than the `promised`; undefined: others have read from the same descriptor, and moved its position. */
  shortfall(bytes: number, promised: number): TransferError | undefined {
    return fileStatus(this.#own.fd).size < this.#position + promised ? endedEarly(bytes, promised) : undefined;
  }

  /** Idempotent. */
  close(): void {
    this.#own.close();
  }
}
