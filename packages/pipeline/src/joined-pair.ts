/**
 * `stream.pipeline` for one pair of plain streams, without what makes Node's dear for a small response: an AbortController
 * that is aborted at every end, and the stack traces of the errors behind it. Nobody could see either, since only functions
 * in a pipeline are given the signal.
 *
 * The sequence is that of pipelineImpl in Node's lib/internal/streams/pipeline.js, step by step, by the same names, with half
 * of its listeners. What differs from one Node to another is said where it does.
 */
import stream, { type Readable, type Writable } from 'node:stream';

const { finished, isReadable } = stream as unknown as {
  finished: typeof stream.finished;
  isReadable(stream: unknown): boolean | null;
};
/** Node's destroyer, which also knows streams that are none of its own. */
const { destroy: destroyStream } = stream as unknown as { destroy(stream: unknown, error: Error): void };

const MAJOR: number = Number.parseInt(process.versions.node, 10);
/** The lines of Node whose pipelineImpl is known to be what is below: the ones that are tested. */
export const IS_KNOWN_NODE: boolean = [20, 22, 24, 26].includes(MAJOR);
/** Until Node 22 an 'error', and the 'close' of the destination, counted as one of the ends that are waited for. */
const ERRORS_ARE_ENDS = MAJOR < 22;
/** Since Node 26 an error takes the place of an AbortError. */
const REPLACES_ABORT = MAJOR >= 26;

type Callback = (error?: Error | null, value?: unknown) => void;
type Failure = (Error & { code?: unknown }) | null | undefined;

/** An error as Node's own, with its code in the first line of its stack. */
function nodeError(code: string, message: string): Error {
  const error = new Error(message);
  error.name = `Error [${code}]`;
  void error.stack; // made now, with that name
  Reflect.deleteProperty(error, 'name');
  return Object.assign(error, { code });
}

const prematureClose = (): Error => nodeError('ERR_STREAM_PREMATURE_CLOSE', 'Premature close');
const destroyedForPipe = (): Error =>
  nodeError('ERR_STREAM_DESTROYED', 'Cannot call pipe after a stream was destroyed');

/**
 * Joins them; `callback` is called once, in a later tick.
 *
 * Node listens to the end of each stream twice, and to 'close' once more, to know which of them it still has to destroy; here
 * what is known of the first is used for both. A stream that has been closed need not be known: to destroy it does nothing.
 */
export function joinPair(source: Readable, destination: Writable, callback: Callback): void {
  let failure: Failure;
  let isTold = false;
  let ends = 2;
  let hasEnded = false;
  let isSourceOver = false;
  let isDestinationOver = false;
  let isDestroyed = false;
  let cleanups: readonly (() => void)[] = [];

  function finish(error?: Failure): void {
    finishImpl(error, --ends === 0);
  }

  function finishOnlyHandleError(error?: Failure): void {
    if (ERRORS_ARE_ENDS) finish(error);
    else finishImpl(error, false);
  }

  function finishImpl(error: Failure, isFinal: boolean): void {
    const isReplaceable =
      !failure || failure.code === 'ERR_STREAM_PREMATURE_CLOSE' || (REPLACES_ABORT && failure.name === 'AbortError');
    if (error && isReplaceable) failure = error;
    if (!failure && !isFinal) return;
    destroyBoth();
    if (!isFinal) return;
    if (!failure) for (const cleanup of cleanups) cleanup();
    process.nextTick(tell, failure);
  }

  /** Those that are not over. Both are, at a proper end. */
  function destroyBoth(): void {
    if (isDestroyed) return;
    isDestroyed = true;
    const error = failure;
    if (!isSourceOver) destroyStream(source, error ?? destroyedForPipe());
    if (!isDestinationOver) destroyStream(destination, error ?? destroyedForPipe());
  }

  function tell(error: Failure): void {
    if (isTold) return;
    isTold = true;
    callback(error, undefined);
  }

  function onError(error: Failure): void {
    if (error && error.name !== 'AbortError' && error.code !== 'ERR_STREAM_PREMATURE_CLOSE') {
      finishOnlyHandleError(error);
    }
  }

  function onClose(): void {
    // The destination has closed before the source has ended.
    if (!hasEnded) finishOnlyHandleError(prematureClose());
  }

  function endFn(): void {
    hasEnded = true;
    destination.end();
  }

  function onSourceOver(error?: Failure): void {
    isSourceOver = !error;
    const state = (
      source as unknown as { _readableState: { ended?: boolean; errored?: unknown; errorEmitted?: boolean } }
    )._readableState;
    // Some streams close before they end, and 'end' is still to come.
    const isEarly = error?.code === 'ERR_STREAM_PREMATURE_CLOSE';
    if (isEarly && state.ended && !state.errored && !state.errorEmitted)
      source.once('end', finish).once('error', finish);
    else finish(error);
  }

  function onDestinationOver(error?: Failure): void {
    isDestinationOver = !error;
    finish(error);
  }

  source.on('error', onError);
  destination.on('error', onError);
  destination.on('close', onClose);
  source.pipe(destination, { end: false });
  if (!source.errored && source.readableEnded) process.nextTick(endFn);
  else source.once('end', endFn);
  finished(source, READING, onSourceOver);
  const cleanup = finished(destination, WRITING, onDestinationOver);
  if (isReadable(destination)) cleanups = [cleanup, () => destination.removeListener('error', onError)];
}

const READING = { readable: true, writable: false };
const WRITING = { readable: false, writable: true };
