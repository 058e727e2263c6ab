/**
 * `cache: 'drop'` of mapped windows. A page that is mapped stays in the page cache, so what a window has brought there is
 * dropped when the last view of it is gone. The file stays open until then.
 */
import { CacheDrop, type CachePolicy, setImmediate } from '@zerocopy/transfer';

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

  /** A window is there: {@link unmapped} is called when it is not any more. */
  retain(): void {
    this.#users++;
  }

  /** No view of these bytes is left; their memory may still be mapped for the rest of this turn. */
  unmapped(from: number, to: number): void {
    const drop = this.#drop;
    if (drop === undefined) return;
    setImmediate(() => {
      drop.unmapped(from, to);
      this.#release();
    });
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
