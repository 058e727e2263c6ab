/** Closing a file that was written to: close(2) may tell only now that a write has failed. */
import fs, { type WriteStream } from 'node:fs';
import { closesOnThread } from '@zerocopy/core-syscalls/descriptors';
import { setImmediate } from '@zerocopy/transfer';

const { close: nodeClose } = fs;

/**
 * fs.close; but in a worker thread on that thread, where it cannot wait: on the thread pool it would be cancelled when the worker
 * is terminated, and the file stay open (kernel-rules: worker-close-cancelled).
 */
export function closeWritten(fd: number, callback: (error?: Error | null) => void): void {
  if (fs.close !== nodeClose || !closesOnThread(fd)) return fs.close(fd, callback);
  let failure: Error | null = null;
  try {
    fs.closeSync(fd);
  } catch (error) {
    failure = error as Error;
  }
  setImmediate(() => setImmediate(() => callback(failure))); // what Node calls back after a hop
}

/** node:fs as it is at each call, but for `close`. */
const closingHere: typeof fs = Object.create(fs, { close: { value: closeWritten } });

/** To be called when `stream` is about to close its file: from now on it does so by {@link closeWritten}, if by node:fs. */
export function closeByWritten(stream: WriteStream & { readonly fd?: unknown }): void {
  if (typeof stream.fd !== 'number' || !closesOnThread(stream.fd)) return;
  const symbol = Object.getOwnPropertySymbols(stream).find(({ description }) => description === 'kFs');
  const fields = stream as unknown as Record<symbol, unknown>;
  if (symbol !== undefined && fields[symbol] === fs) fields[symbol] = closingHere;
}
