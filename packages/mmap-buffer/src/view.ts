/** How much one Buffer can show. */
import { constants } from 'node:buffer';

/** Bytes of the largest Buffer of the running Node: 4 GiB for Node 20. More than that aborts the process in koffi.view. */
export const MAX_VIEW: number = constants.MAX_LENGTH;

class BufferTooLargeError extends RangeError {
  readonly code = 'ERR_BUFFER_TOO_LARGE';
}

export const bufferTooLarge = (bytes: number): RangeError =>
  new BufferTooLargeError(
    `${bytes} bytes are more than one Buffer of Node ${process.versions.node} can hold (${MAX_VIEW}): ` +
      'look at them through view(offset, length) or windows()',
  );
