/** Whether a pipe of Node's is alone in getting what its source brings, and what puts an end to that. */
import type { Readable } from 'node:stream';
import { isOutgoingMessage, isSocket, socketOfMessage } from '@zerocopy/core-syscalls/descriptors';
import { pipesOf } from './socket-internals.js';
import { isSlotFull } from './write-queue.js';

/** Node's pipe is there, and would get nothing of what the source brings: its listeners have been removed. */
const DEAF = "the 'data' listener of the pipe was removed";

/** Why the pipe to `destination` would not be alone in getting what is read now, or undefined. */
export function otherReader(source: Readable, destination: NodeJS.WritableStream): string | undefined {
  const pipes = pipesOf(source);
  if (pipes === undefined) return 'the pipes of the stream are not known';
  if (pipes.length > 1) return 'it is piped to more than one destination';
  if (pipes[0] !== destination) return 'it has been unpiped';
  const listeners = source.listenerCount('data');
  if (listeners > 1) return "the stream has a 'data' listener";
  if (listeners === 0) return DEAF;
  if (source.listenerCount('readable') > 0) return "the stream has a 'readable' listener";
  if (source.readableEncoding !== null) return 'the stream has an encoding';
  // While Node's pipe waits for the destination to drain it has paused the source itself: the write slot comes after that.
  if (source.readableFlowing !== true && !needsDrain(destination)) return 'the stream was paused';
  return undefined;
}

const needsDrain = (destination: NodeJS.WritableStream): boolean =>
  (destination as { writableNeedDrain?: boolean }).writableNeedDrain === true;

/** Whether the kernel takes no more for now: Node's pipe would have paused its source until 'drain'. */
function isFull(destination: NodeJS.WritableStream): boolean {
  const socket = isOutgoingMessage(destination) ? socketOfMessage(destination) : destination;
  return isSocket(socket) && isSlotFull(socket);
}

/** Tells when the bytes of a pipe cannot go below it any longer: somebody else listens, pauses, pipes or unpipes. */
export class PipeWatch {
  readonly #source: Readable;
  readonly #destination: NodeJS.WritableStream;
  readonly #onEnd: (reason?: string) => void;
  readonly #onGone: (() => void) | undefined;
  #watching = false;
  #resumes = false;

  /**
   * @param onEnd the pipe is not alone any more, for `reason`; or is no more: then without a reason.
   * @param onGone the pipe is no more because its destination is gone: what moves the bytes finds that out by itself.
   */
  constructor(
    source: Readable,
    destination: NodeJS.WritableStream,
    onEnd: (reason?: string) => void,
    onGone?: () => void,
  ) {
    this.#source = source;
    this.#destination = destination;
    this.#onEnd = onEnd;
    this.#onGone = onGone;
  }

  /** Idempotent. */
  begin(): void {
    if (this.#watching) return;
    this.#watching = true;
    this.#source.on('pause', this.#onPause).on('newListener', this.#onNewListener);
    this.#source.on('removeListener', this.#onRemoveListener);
    this.#destination.on('unpipe', this.#onUnpipe);
  }

  /** Idempotent. */
  end(): void {
    if (!this.#watching) return;
    this.#watching = false;
    this.#source.off('removeListener', this.#onRemoveListener);
    this.#source.off('newListener', this.#onNewListener).off('pause', this.#onPause);
    this.#destination.off('unpipe', this.#onUnpipe);
  }

  /**
   * To be called when Node's pipe goes on, and the bytes that were on their way are out. A source that is paused while its
   * pipe waits for the destination flows again as soon as that has drained: Node's pipe resumes it, whoever paused it.
   */
  drained(): void {
    if (!this.#resumes) return;
    this.#resumes = false;
    if (pipesOf(this.#source)?.includes(this.#destination)) this.#source.resume();
  }

  readonly #onNewListener = (event: string | symbol): void => {
    if (event === 'data' || event === 'readable') this.#onEnd(`a '${event}' listener was added`);
  };

  readonly #onRemoveListener = (event: string | symbol): void => {
    if (event !== 'data' || this.#source.listenerCount('data') > 0) return;
    // unpipe() removes it, too, when the pipe is no more: that is told by 'unpipe'.
    if (pipesOf(this.#source)?.includes(this.#destination)) this.#onEnd(DEAF);
  };

  readonly #onPause = (): void => {
    // Not by the user: Node's pipe pauses a source that brings more than is written, and unpipe() pauses a source that
    // has no pipe left before it emits 'unpipe'.
    const byNode = needsDrain(this.#destination) || pipesOf(this.#source)?.length === 0;
    if (byNode) return;
    this.#resumes = isFull(this.#destination);
    this.#onEnd('the stream was paused');
  };

  readonly #onUnpipe = (source: unknown): void => {
    if (source !== this.#source) return;
    if ((this.#destination as { destroyed?: boolean }).destroyed && this.#onGone !== undefined) this.#onGone();
    else this.#onEnd();
  };
}
