/**
 * `cache: 'drop'` of mapped windows. A page that is mapped stays in the page cache, so what a window has brought there is
 * dropped when the last view of it is gone. The file stays open until then.
 */
import { CacheDrop, type CachePolicy, setImmediate } from '@zerocopy/transfer';

const NOTHING = (): void => {};

/** See above. */
export class WindowDrop {
  readonly #drop: CacheDrop | undefined;
  /** The stream, and its windows. */
  #users = 1;

  /** @param position of the first byte that is going to be mapped. */
  constructor(policy: CachePolicy, fd: number, position: number) {
    this.#drop = CacheDrop.of(policy, fd, position, 'mapped');
  }

  /** The next bytes are about to be mapped, or read. */
  advance(bytes: number): void {
    this.#drop?.moved(bytes);
  }

  /**
   * A window of these bytes is there.
   * @returns what is to be called once when no view of it is left; its memory may still be mapped for the rest of that
   * turn. It is made here, since it would hold on to what any other function of its maker uses, such as views.
   */
  retain(from: number, to: number): () => void {
    const drop = this.#drop;
    if (drop === undefined) return NOTHING;
    this.#users++;
    const unmapped = (): void => {
      drop.unmapped(from, to);
      this.#release();
    };
    return () => void setImmediate(unmapped);
  }

  /** No window follows. To be called once. */
  close(): void {
    this.#drop?.allMapped();
    this.#release();
  }

  #release(): void {
    if (--this.#users === 0) void this.#drop?.end();
  }
}
