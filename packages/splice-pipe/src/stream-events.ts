/** The event that our streams have besides those of Node's. */

/** Bytes so far, and in all, if that is known. */
type OnProgress = (bytes: number, total?: number) => void;

/** What {@link createSpliceReadStream} and {@link createSpliceWriteStream} add to the events of Node's streams. */
export interface SpliceStreamEvents {
  /** After every pause of the transfer and at its end. */
  addListener(event: 'progress', listener: OnProgress): this;
  /** After every pause of the transfer and at its end. */
  on(event: 'progress', listener: OnProgress): this;
  /** After every pause of the transfer and at its end. */
  once(event: 'progress', listener: OnProgress): this;
  /** After every pause of the transfer and at its end. */
  prependListener(event: 'progress', listener: OnProgress): this;
  /** After every pause of the transfer and at its end. */
  prependOnceListener(event: 'progress', listener: OnProgress): this;
}
