/**
 * The route of a file beneath a pipe (see PipeRoute): sent by the kernel into a socket, an HTTP message or a redirected
 * standard output; copied in its stead where the connection is encrypted; or, if it is small and warm, in one write with the
 * headers of the message. It can be attached to any fs.ReadStream; what only our own drop-in does is an option.
 */
import type { OutgoingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { constants, syscalls } from '@zerocopy/core-syscalls';
import {
  type CachePolicy,
  closedEarly,
  countTransfer,
  failureOf,
  isEndedByPipeline,
  isObserved,
  type MethodRecord,
  OwnedDescriptor,
  PipeRoute,
  type SlotOutcome,
  type SlotTransfer,
  transferError,
} from '@zerocopy/transfer';
import { resetWhenClosed } from './connection-reset.js';
import { type FileDestination, resolveDestination, type SocketDestination } from './destination.js';
import { createFileSend, reasonOf, type SendTarget } from './file-send.js';
import { bytesLeft, reserve } from './message-body.js';
import type { OpenFile } from './open-file.js';
import { announcePlan, planSend, type SendPlan } from './send-plan.js';
import { readSmall, type SmallRead } from './small-file.js';
import { inspectSource, type SourceFacts } from './source.js';

/** What an fs.ReadStream has, and its types do not all tell. */
export interface FileReader extends Readable {
  /** The descriptor that is read; null until the file is open, and again once it is closed. */
  readonly fd: number | null;
  /** What it was made with; of no use where a descriptor was lent to it. */
  readonly path: string | Buffer;
  /** Where the next read starts, in bytes; undefined: at the descriptor's own position. */
  pos: number | undefined;
  /** The last byte, inclusive; Infinity: the file's. */
  readonly end: number;
  /** Bytes that have left the file so far, by whichever way. */
  bytesRead: number;
}

/** What is particular to the one who lays the route. */
export interface FileRouteOptions {
  /** Where the way that the bytes take is noted. */
  readonly record: MethodRecord;
  /** Sets the Content-Length of a message whose whole body the file is. */
  readonly announces: boolean;
  /** Whether the pipe ends the destination. */
  readonly ends: boolean;
  /** The descriptor may be closed, or moved, by others; else the source has opened it by itself. */
  readonly lent: boolean;
  /** What is read where the source has no descriptor of its own yet: a file that others read, too, and stays open until the source is destroyed. */
  readonly shared?: (() => OpenFile | undefined) | undefined;
  /** Up to this many bytes a warm file goes with the headers of an HTTP message; 0: never. */
  readonly smallFileSize: number;
  /** With fewer bytes to send than this, the file is left to Node. Default 1. */
  readonly minBytes?: number;
  /** At the end of what the file had at its start: true to look whether it has grown, as Node's reading would; else it ends. */
  readonly followsGrowth?: boolean;
  /** After every pause of the transfer, and at its end. */
  readonly onProgress?: ((bytes: number, total: number) => void) | undefined;
  /**
   * The file ended early, or failed, on its way. {@link FileRoute.settle} is to be called once that has been told. Without
   * it Node reads on from the byte that has been reached, and finds out for itself.
   */
  readonly onFailure?: ((error: Error) => void) | undefined;
  /** 'drop': what the route brings into the page cache leaves it again. */
  readonly cache?: CachePolicy | undefined;
}

/** A route beneath a pipe from a file into a socket or an HTTP message: the kernel sends what the pipe would have read. */
export class FileRoute extends PipeRoute<FileReader> {
  readonly #options: FileRouteOptions;
  #send: SlotTransfer | undefined;
  #cancelWait: (() => void) | undefined;
  #settle: (() => void) | undefined;
  /** Something has been sent: then nothing more to send is the end. */
  #sent = false;

  /** To be made when `source` has been piped into `destination`, and before it has flowed. */
  constructor(source: FileReader, destination: NodeJS.WritableStream, options: FileRouteOptions) {
    super(source, destination, options.record);
    this.#options = options;
  }

  /** Ends the sending with `error`, at the byte it has reached. */
  fail(error: Error): void {
    this.#send?.fail(error);
  }

  /** The destination of a route that has brought all it had. */
  get ended(): NodeJS.WritableStream | undefined {
    return this.#sent && this.left ? this.destination : undefined;
  }

  /** Whether there is something to {@link settle}. */
  get isUnsettled(): boolean {
    return this.#settle !== undefined;
  }

  /** After a failure: destroys the connection, so that what it has got is not taken for the whole. Idempotent. */
  settle(): void {
    const settle = this.#settle;
    this.#settle = undefined;
    settle?.();
  }

  protected override stop(): void {
    if (this.#send !== undefined) return this.#send.stop('the pipe was left');
    this.#cancelWait?.();
    this.handBack();
  }

  protected override cancel(): void {
    const send = this.#send;
    if (send === undefined) return this.stop();
    const { errored } = this.source;
    // A peer that goes away destroys the source by way of `pipeline`: what has happened to the connection is the reason.
    if (isGone(this.destination)) send.lost(errorOf(this.destination), 'destination');
    // Node's own reading leaves the destination as it is, and in the middle of no chunk.
    else if (errored !== null && !send.ended && this.#options.onFailure !== undefined) send.fail(errored);
    else
      send.stop('the stream was destroyed', (bytes) =>
        errored === null ? closedEarly('source', bytes) : transferError(errored, bytes),
      );
  }

  protected override begin(): string | undefined {
    const resolved = resolveDestination(this.destination);
    if ('refused' in resolved) return resolved.refused;
    if ('pending' in resolved) return this.#await(resolved.pending);
    const shared = this.#options.shared?.();
    if (shared !== undefined && this.#sendAnnounced(shared, resolved)) return undefined;
    return this.#sendFrom(shared?.fd ?? (this.source.fd as number), resolved);
  }

  /**
   * A small file that is as long as its message has announced goes by what is known since it was opened: if it has grown
   * meanwhile, more is not sent; if it is shorter now, it is not read whole, and nothing has happened.
   */
  #sendAnnounced(file: OpenFile, resolved: SocketDestination | FileDestination): boolean {
    const { fd, facts } = file;
    const announced = bytesLeft(this.destination);
    if (!facts.sendable || !Number.isFinite(announced) || isObserved()) return false;
    const plan = this.#plan(fd, facts, resolved);
    const { minBytes = 1 } = this.#options;
    if (!plan.small || plan.length !== announced || plan.length < minBytes) return false;
    const small = readSmall(fd, plan.position as number, plan.length, facts.inMemory);
    if (small === undefined) return false;
    this.#write(small, plan);
    return true;
  }

  /** A client's request has no connection yet. */
  #await(message: NodeJS.EventEmitter): undefined {
    const onSocket = (): void => {
      this.#cancelWait = undefined;
      this.askAgain();
    };
    message.once('socket', onSocket);
    this.#cancelWait = () => {
      this.#cancelWait = undefined;
      message.off('socket', onSocket);
    };
    this.hold();
  }

  #sendFrom(fd: number, resolved: SocketDestination | FileDestination): string | undefined {
    const { destination } = this;
    const { smallFileSize, minBytes = 1, lent } = this.#options;
    const facts = inspectSource(fd);
    const plan = this.#plan(fd, facts, resolved);
    if (plan.length === 0 && this.#sent) {
      this.end();
      return undefined;
    }
    if (plan.refused !== undefined && !plan.queued) return plan.refused;
    if (plan.length < minBytes) return `fewer than ${minBytes} bytes are left to Node`;
    const inMemory = facts.sendable && facts.inMemory;
    const isSmall = plan.small && !waitsCorked(destination, plan.length);
    const small = isSmall ? readSmall(fd, plan.position as number, plan.length, inMemory) : undefined;
    if (small !== undefined && !isObserved()) {
      this.#movePosition(fd, plan.position as number, plan.length);
      this.#write(small, plan);
      return undefined;
    }
    if (small === undefined && mayStayCorked(destination, plan.length)) return 'the destination is corked';
    // A descriptor that was lent may be closed, and its number used again, at any moment (kernel-rules: fd-reuse).
    const own = lent ? OwnedDescriptor.tryDuplicate(fd) : undefined;
    if (own === null) return 'the descriptor cannot be duplicated';
    const out = 'file' in resolved ? OwnedDescriptor.tryDuplicate(resolved.file) : undefined;
    if (out === null) {
      own?.close();
      return 'the destination cannot be duplicated';
    }
    const target: SendTarget = 'file' in resolved ? { out: out as OwnedDescriptor, kind: 'stdio' } : resolved;
    this.#sent = true;
    const reason = reasonOf(plan, small, smallFileSize);
    this.record.goes(reason === undefined ? 'sendfile' : 'copy', reason);
    this.#start(own?.fd ?? fd, plan, target, small, () => {
      own?.close();
      out?.close();
    });
    return undefined;
  }

  /**
   * A small file that has been read goes as Node's pipe would write it, and the source ends: its bytes wait for a slow receiver
   * in the message, and hold no file open. It is counted as any transfer is, and there is nobody else to be told.
   */
  #write(small: SmallRead, plan: SendPlan): void {
    const { length } = plan;
    const { announces, ends, onProgress, smallFileSize } = this.#options;
    const startedAt = performance.now();
    const message = this.destination as unknown as OutgoingMessage;
    const reason = reasonOf(plan, small, smallFileSize) as string;
    this.record.goes('copy', reason);
    this.#sent = true;
    reserve(message, length);
    if (announces && (ends || isEndedByPipeline(this.source))) announcePlan(message, plan);
    message.write(small.bytesFor(message), (error?: Error | null) => {
      if (!error) small.recycle();
    });
    this.#advance(length);
    const durationMs = performance.now() - startedAt;
    countTransfer({ bytes: length, method: 'copy', fallbackReason: reason, syscalls: 1, durationMs }, false);
    onProgress?.(length, length);
    this.end();
  }

  #plan(fd: number, facts: SourceFacts, resolved: SocketDestination | FileDestination): SendPlan {
    const { source, destination } = this;
    // A file that the source has opened is at its start: from here on the position is counted, not the kernel's.
    if (facts.sendable && !this.#options.lent) source.pos ??= source.bytesRead;
    const position = source.pos ?? syscalls.lseek(fd, 0, constants.SEEK_CUR);
    return planSend({
      facts,
      position: position < 0 ? null : position,
      last: source.pos === undefined ? position + source.end - source.bytesRead : source.end,
      stream: destination,
      resolved,
      ends: this.#options.ends,
      smallFileSize: this.#options.smallFileSize,
    });
  }

  #start(fd: number, plan: SendPlan, target: SendTarget, small: SmallRead | undefined, close: () => void): void {
    const { source } = this;
    const { announces, ends, onProgress, smallFileSize } = this.#options;
    const { length } = plan;
    const position = plan.position as number;
    let told = 0;
    this.#send = createFileSend({
      file: { fd, hold: () => {}, release: () => {} },
      name: source.path,
      plan,
      target,
      small,
      smallFileSize,
      announces: announces && (ends || isEndedByPipeline(source)),
      piped: true,
      cache: this.#options.cache,
      onMoved: (bytes) => this.#advance(bytes),
      onProgress:
        onProgress === undefined
          ? undefined
          : (bytes) => {
              if (bytes > told) onProgress(bytes, length);
              told = bytes;
            },
      onEnd: (outcome, begun) => {
        this.#movePosition(fd, position, outcome.result.bytes);
        close();
        this.#onSendEnd(outcome, begun);
      },
    });
    this.hold();
    this.#send.start();
  }

  /** A descriptor that was given without a start is read from, and moves, its own position, as by fs.read. */
  #movePosition(fd: number, from: number, bytes: number): void {
    if (this.source.pos === undefined && bytes > 0) syscalls.lseek(fd, from + bytes, constants.SEEK_SET);
  }

  /** Counts bytes that were not read by Node as if they were. */
  #advance(bytes: number): void {
    this.source.bytesRead += bytes;
    if (this.source.pos !== undefined) this.source.pos += bytes;
  }

  #onSendEnd(outcome: SlotOutcome, begun: boolean): void {
    const send = this.#send as SlotTransfer;
    this.#send = undefined;
    if (!this.left) this.record.goes(outcome.result.method, outcome.result.fallbackReason);
    switch (outcome.kind) {
      case 'completed':
        if (this.#options.followsGrowth && !this.left) this.askAgain();
        else this.end();
        break;
      case 'dropped':
        this.end();
        break;
      case 'stopped':
        this.handBack();
        break;
      case 'failed':
        this.#onFailure(send, outcome, begun);
        break;
    }
  }

  #onFailure(send: SlotTransfer, outcome: SlotOutcome & { readonly kind: 'failed' }, begun: boolean): void {
    const { destination } = this;
    const { onFailure } = this.#options;
    if (outcome.side === 'destination') return this.lose();
    // A chunk that has begun cannot be completed by anyone else.
    const inChunk = (send.boundary ?? 0) > outcome.result.bytes;
    if ((onFailure === undefined || this.source.destroyed || !begun) && !inChunk) {
      send.settle('keep');
    } else {
      resetWhenClosed(destination);
      this.#settle = () => send.settle('destroy');
    }
    if (!this.source.destroyed) onFailure?.(cause(outcome.error));
    this.handBack();
    if (onFailure === undefined) this.settle();
  }
}

/** The file's own error, where there is one, as Node's stream would report it. */
function cause(error: Error): Error {
  return error.cause instanceof Error ? error.cause : error;
}

const isGone = (destination: NodeJS.WritableStream): boolean => {
  const { destroyed, socket } = destination as { destroyed?: boolean; socket?: { destroyed?: boolean } | null };
  return destroyed === true || socket?.destroyed === true;
};

/**
 * Whether nothing but the end of the message may let go what it, or its socket, holds back. The kernel's bytes wait for
 * that, and the end comes after them. Node's pipe waits as well, once the message holds as much as it likes to; what is
 * less ends.
 */
function mayStayCorked(destination: NodeJS.WritableStream, length: number): boolean {
  const { writableCorked = 0, writableHighWaterMark = 0, socket } = destination as Partial<OutgoingMessage>;
  return (writableCorked > 0 || (socket?.writableCorked ?? 0) > 0) && length < writableHighWaterMark;
}

/**
 * Whether Node's pipe would wait for the corked message to let go what it holds. The end must not come before: Node 22 to 26
 * write it in front of chunks that are held back.
 */
function waitsCorked(destination: NodeJS.WritableStream, length: number): boolean {
  const { writableCorked = 0, writableHighWaterMark = 0, writableLength = 0 } = destination as Partial<OutgoingMessage>;
  return writableCorked > 0 && writableLength + length >= writableHighWaterMark;
}

/** Why it is gone; null: nothing says why. */
const errorOf = (destination: NodeJS.WritableStream): Error | null => {
  const message = destination as { errored?: Error | null; socket?: { errored?: Error | null } | null };
  return failureOf(message.socket ?? message) ?? failureOf(message);
};
