/**
 * One source to several destinations, by tee(2): the pages are in every pipe, and copied in none.
 *
 *   filling ──► teeing ──► draining all branches ──► filling …
 *
 * A branch is a pipe and what it is drained into. The first branch's pipe is filled from the source, the others get
 * its content by tee(2), then each is drained. The next piece waits until the slowest is done, or has been dropped.
 */
import type { Socket } from 'node:net';
import {
  constants,
  feature,
  SyscallError,
  syscalls,
  TransferError,
  type TransferResult,
} from '@zerocopy/core-syscalls';
import {
  abortError,
  isSocket,
  type Resume,
  readOptions,
  requestWriteSlot,
  SOURCE_ENDED,
  Transfer,
  type TransferEngine,
  transferError,
  WOULD_BLOCK,
  type WriteSlot,
} from '@zerocopy/transfer';
import { type KernelDestination, SocketDestination } from './destination.js';
import {
  type DestinationEnd,
  holdErrors,
  isDescriptor,
  openDestination,
  openSource,
  type SourceEnd,
  type SpliceDestination,
  type SpliceSource,
} from './endpoint.js';
import { invalidArgument, timeoutOf, validateBytes, validateFunction, validateSignal } from './options.js';
import { acquirePipe, type Pipe, releasePipe, takeFromPipe } from './pipe-pool.js';
import { StreamDestination, StreamSource } from './plain-streams.js';
import { closed } from './relay.js';
import type { KernelSource } from './source.js';
import { connected, type SpliceOptions } from './splice.js';
import { CARRY_SIZE, COPY_SIZE, SPLICE_FLAGS, SPLICE_REFUSALS } from './splice-engine.js';

export interface TeeOptions extends Omit<SpliceOptions, 'fallback' | 'signal'> {
  /** Stops it: rejects with the code ABORT_ERR. The streams stay open; a piece may have reached some of them only. */
  signal?: AbortSignal;
  /**
   * Milliseconds that a destination may keep the others waiting with one piece; then it is dropped, with the code
   * ERR_DESTINATION_TOO_SLOW, and the others go on. Default 0: the slowest sets the pace.
   */
  dropAfter?: number;
}

/** What became of one destination. */
export interface TeeBranchResult {
  /** Bytes handed to it. */
  readonly bytes: number;
  /** Why it was dropped; absent if it got everything. */
  readonly error?: TransferError;
}

export interface TeeResult extends TransferResult {
  /** In the order of the argument. */
  readonly destinations: readonly TeeBranchResult[];
}

const { EAGAIN, EINTR, EIO } = constants;
/** Of one call, and of one turn of the loop. */
const PIECE_MAX = 1024 * 1024;

/** One destination: what it has still to get of the current piece is in its pipe, or, copying, in `chunk`. */
class Branch {
  bytes = 0;
  /** Called when it is dropped. */
  onDrop: (error: TransferError) => void = () => {};
  error: TransferError | undefined;
  /** Why what is in its pipe is copied to it, once the kernel has refused to splice it. */
  refusal: string | undefined;
  pipe: Pipe | undefined;
  readonly #destination: KernelDestination;
  #carry: Buffer | undefined;
  /** A call on another thread uses the pipe and the file. */
  #busy = false;
  #stopped = false;
  #whenIdle: (() => void) | undefined;

  constructor(destination: KernelDestination) {
    this.#destination = destination;
  }

  /** Delivers what is in the pipe; calls back once, when it is empty or the destination has failed. */
  drain(done: (error: Error | null) => void): void {
    const pipe = this.pipe as Pipe;
    while (pipe.held > 0) {
      if (this.refusal !== undefined) return this.#carryOn(pipe, COPY_SIZE, done);
      if (this.#destination.mayBlock) return this.#drainOffThread(pipe, done);
      const fd = this.#destination.descriptor();
      if (fd < 0) return done(closed('destination'));
      const result = syscalls.splice(pipe.readFd, null, fd, null, pipe.held, SPLICE_FLAGS);
      if (result > 0) {
        this.#destination.moved(result);
        this.#drained(pipe, result);
      } else if (result === -EAGAIN) return this.#carryOn(pipe, CARRY_SIZE, done);
      else if (SPLICE_REFUSALS.has(result)) this.#refuse(result);
      else if (result !== -EINTR) return done(new SyscallError(result === 0 ? EIO : result, 'splice'));
    }
    done(null);
  }

  write(chunk: Buffer, done: (error: Error | null) => void): void {
    this.#busy = this.#destination.mayBlock;
    this.#destination.write(chunk, (error, bytes) => {
      this.#busy = false;
      this.bytes += bytes;
      this.#whenIdle?.();
      done(error);
    });
  }

  /** Resolves when no call on another thread is under way, and none follows. */
  idle(): Promise<void> {
    this.#stopped = true;
    return new Promise((resolve) => {
      if (this.#busy) this.#whenIdle = resolve;
      else resolve();
    });
  }

  /** Lets go of the pipe; one that still holds bytes is closed (rule 19). */
  release(): void {
    if (this.#busy) return; // comes again by way of idle()
    if (this.pipe !== undefined) releasePipe(this.pipe);
    this.pipe = undefined;
  }

  #drained(pipe: Pipe, bytes: number): void {
    pipe.held -= bytes;
    this.bytes += bytes;
  }

  #drainOffThread(pipe: Pipe, done: (error: Error | null) => void): void {
    this.#busy = true;
    this.#destination.spliceOffThread?.(pipe.readFd, pipe.held, (result) => {
      this.#busy = false;
      if (result > 0) {
        this.#destination.moved(result);
        this.#drained(pipe, result);
      }
      this.#whenIdle?.();
      if (this.#stopped || this.error !== undefined) return done(null); // nobody waits for the rest
      if (SPLICE_REFUSALS.has(result)) this.#refuse(result);
      else if (result === -EAGAIN)
        return this.#carryOn(pipe, COPY_SIZE, done); // no file waits: this piece is copied
      else if (result <= 0 && result !== -EINTR) {
        return done(new SyscallError(result === 0 ? EIO : result, 'write'));
      }
      this.drain(done);
    });
  }

  #refuse(errno: number): void {
    const { code } = new SyscallError(errno, 'splice');
    this.refusal = `splice to a destination was refused by the kernel (${code})`;
  }

  #carryOn(pipe: Pipe, size: number, done: (error: Error | null) => void): void {
    if (this.#carry === undefined || this.#carry.length < size) this.#carry = Buffer.allocUnsafeSlow(size);
    const read = takeFromPipe(pipe, this.#carry, size);
    if (read <= 0) return done(new SyscallError(read === 0 ? EIO : read, 'read'));
    this.write(this.#carry.subarray(0, read), (error) => {
      if (error !== null) done(error);
      else if (this.#stopped || this.pipe === undefined)
        done(null); // nobody waits for the rest
      else this.drain(done);
    });
  }
}

interface TeeEngineOptions {
  readonly source: KernelSource;
  readonly branches: readonly Branch[];
  readonly dropAfter: number;
  /** Why everything is to be copied, or undefined. */
  readonly refused: string | undefined;
}

class TeeEngine implements TransferEngine {
  readonly syscall = 'tee';
  failed: 'source' | 'destination' | undefined;
  ended: boolean;
  /** Bytes that were read from the source and are in no branch, nor to be had again. */
  missing = 0;
  readonly #branches: readonly Branch[];
  /** Why everything is copied. */
  #refusal: string | undefined;
  #live: Branch[];
  #head: Buffer;
  readonly #source: KernelSource;
  readonly #dropAfter: number;
  #pipes = false;
  #inTurn = 0;
  /** All destinations have it; it is still to be counted. */
  inStream = 0;

  constructor({ source, branches, dropAfter, refused }: TeeEngineOptions) {
    this.#refusal = refused;
    this.#source = source;
    this.#branches = branches;
    this.#live = [...branches];
    this.#head = source.head;
    this.ended = source.ended;
    this.#dropAfter = dropAfter;
  }

  get method(): 'splice' | 'copy' {
    return this.reason === undefined ? 'splice' : 'copy';
  }

  get reason(): string | undefined {
    return this.#refusal ?? this.#branches.find(({ refusal }) => refusal !== undefined)?.refusal;
  }

  /** Everything happens in `wait`: a piece is through when the last branch has it. */
  attempt(): number {
    return WOULD_BLOCK;
  }

  wait(count: number, resume: Resume): void {
    if (this.#head.length > 0) {
      const part = this.#head.subarray(0, count);
      this.#head = this.#head.subarray(part.length);
      this.#toAll(part.length, (branch, done) => branch.write(part, done), resume);
    } else if (this.ended) resume(null, SOURCE_ENDED);
    else if (this.#refusal !== undefined || !this.#acquirePipes()) this.#copy(count, resume);
    else this.#fill(count, resume);
  }

  /** What is left of the head, as the source's own. */
  close(): Buffer {
    for (const branch of this.#live) branch.release();
    return this.#head;
  }

  /** The pipe with the fewest slots is filled, so that what it holds fits into every other. */
  #acquirePipes(): boolean {
    if (this.#pipes) return true;
    for (const branch of this.#live) branch.pipe ??= acquirePipe() ?? undefined;
    this.#pipes = this.#live.every(({ pipe }) => pipe !== undefined);
    if (!this.#pipes) for (const branch of this.#live) branch.release();
    else this.#live.sort((a, b) => (a.pipe as Pipe).capacity - (b.pipe as Pipe).capacity);
    return this.#pipes;
  }

  #releasePipes(): void {
    for (const branch of this.#live) branch.release();
    this.#pipes = false;
  }

  #fill(count: number, resume: Resume): void {
    const [first] = this.#live as [Branch];
    const pipe = first.pipe as Pipe;
    const fd = this.#source.descriptor();
    if (fd < 0) {
      // An attempt may come between a socket's closing and its event.
      this.failed = 'source';
      resume(this.#source.errored ?? closed('source'), 0);
      return;
    }
    const result = syscalls.splice(fd, null, pipe.writeFd, null, Math.min(count, PIECE_MAX), SPLICE_FLAGS);
    if (result > 0) {
      this.#source.took(result);
      pipe.held = result;
      this.#tee(pipe, result, resume);
    } else if (result === 0) {
      this.ended = true;
      resume(null, SOURCE_ENDED);
    } else if (result === -EINTR) resume(null, 0);
    else if (result === -EAGAIN) {
      this.#releasePipes(); // none is held while idle
      this.#copy(1, resume); // the wake-up; what comes with it is spliced
    } else if (SPLICE_REFUSALS.has(result)) {
      this.#refusal = `splice from the source was refused by the kernel (${new SyscallError(result, 'splice').code})`;
      this.#releasePipes();
      this.#copy(count, resume);
    } else {
      this.failed = 'source';
      resume(new SyscallError(result, 'splice'), 0);
    }
  }

  /** Waits for the source; what its watcher reads goes to all by copying. */
  #copy(count: number, resume: Resume): void {
    this.#source.onReadable(count, (error, chunk) => {
      if (error !== null) {
        this.failed = 'source';
        resume(error, 0);
      } else if (chunk === null) {
        this.ended = true;
        resume(null, SOURCE_ENDED);
      } else {
        this.#source.took(chunk.length);
        const part = Buffer.from(chunk.subarray(0, count));
        if (chunk.length > count) this.#head = Buffer.from(chunk.subarray(count));
        this.#toAll(part.length, (branch, done) => branch.write(part, done), resume);
      }
    });
  }

  #tee(from: Pipe, bytes: number, resume: Resume): void {
    for (const branch of this.#live.slice(1)) {
      const pipe = branch.pipe as Pipe;
      let result: number;
      do result = syscalls.tee(from.readFd, pipe.writeFd, bytes, constants.SPLICE_F_NONBLOCK);
      while (result === -EINTR);
      pipe.held = Math.max(0, result);
      if (result !== bytes) {
        // Nobody must ever get only a part of a piece.
        if (result < 0) this.#refusal = `tee was refused by the kernel (${new SyscallError(result, 'tee').code})`;
        this.#copyPiece(from, resume);
        return;
      }
    }
    this.#toAll(bytes, (branch, done) => branch.drain(done), resume);
  }

  /** What the first pipe holds goes to all by copying; what the others have got of it by tee(2) is thrown away. */
  #copyPiece(from: Pipe, resume: Resume): void {
    const piece = Buffer.allocUnsafe(from.held);
    let taken = 0;
    while (from.held > 0) {
      const read = takeFromPipe(from, piece.subarray(taken), from.held);
      if (read <= 0) {
        this.missing = piece.length;
        this.failed = 'source';
        resume(new SyscallError(read === 0 ? EIO : read, 'read'), 0);
        return;
      }
      taken += read;
    }
    this.#releasePipes();
    this.#toAll(piece.length, (branch, done) => branch.write(piece, done), resume);
  }

  /** Lets the loop go on after a turn's share, however fast all ends are (rule 2). */
  #through(bytes: number, resume: Resume): void {
    this.#inTurn += bytes;
    if (this.#inTurn < PIECE_MAX) {
      resume(null, bytes);
      return;
    }
    this.#inTurn = 0;
    this.inStream = bytes;
    setImmediate(() => {
      this.inStream = 0;
      resume(null, bytes);
    });
  }

  /** Hands one piece to every branch, and resumes when all of them have it, or have been dropped. */
  #toAll(bytes: number, hand: (branch: Branch, done: (error: Error | null) => void) => void, resume: Resume): void {
    const pending = new Set(this.#live);
    let timer: NodeJS.Timeout | undefined;
    let handing = true;
    const finish = (): void => {
      if (pending.size > 0 || handing) return;
      clearTimeout(timer);
      if (this.#live.length > 0) this.#through(bytes, resume);
      else {
        this.failed = 'destination';
        resume(new TransferError('every destination has failed', { code: 'ERR_ALL_DESTINATIONS_FAILED', bytes: 0 }), 0);
      }
    };
    const drop = (branch: Branch, error: Error): void => {
      branch.error = transferError(error, branch.bytes);
      this.#live = this.#live.filter((other) => other !== branch);
      branch.release();
      branch.onDrop(branch.error);
    };
    for (const branch of pending) {
      hand(branch, (error) => {
        if (!pending.delete(branch)) return; // dropped already
        if (error !== null) drop(branch, error);
        finish();
      });
    }
    handing = false;
    if (pending.size > 0 && this.#dropAfter > 0) {
      const dropSlow = (): void => {
        if (pending.size === 0) return; // all have gone on meanwhile
        for (const branch of pending) {
          pending.delete(branch);
          const message = `the destination has kept the others waiting for ${this.#dropAfter} ms`;
          drop(branch, new TransferError(message, { code: 'ERR_DESTINATION_TOO_SLOW', bytes: branch.bytes }));
        }
        finish();
      };
      // If this process was busy for that long, what has happened meanwhile is heard first.
      timer = setTimeout(() => setImmediate(dropSlow), this.#dropAfter);
    }
    finish();
  }
}

/**
 * Moves what `source` brings to each of `destinations`. A destination that fails is dropped, and destroyed if it is a
 * socket; the others go on, and `destinations` in the result says so. It rejects when all have failed, or the source.
 *
 * @param source a socket, pipe or descriptor of either that the kernel can read.
 * @param destinations sockets, pipes and files; none is ended.
 */
export async function tee(
  source: SpliceSource,
  destinations: readonly SpliceDestination[],
  given: TeeOptions = {},
): Promise<TeeResult> {
  const options = readOptions<TeeOptions>(given, ['length', 'signal', 'onProgress', 'dropAfter']);
  if (!Array.isArray(destinations) || destinations.length === 0) {
    throw invalidArgument('destinations', 'an array of at least one destination', destinations);
  }
  validateBytes(options.length, 'length');
  validateSignal(options.signal);
  validateFunction(options.onProgress, 'onProgress');
  timeoutOf(options.dropAfter, 'dropAfter', 0);
  if (options.signal?.aborted) throw abortError(options.signal, 0);
  const release = holdErrors([source, ...destinations]);
  const ends: (DestinationEnd | undefined)[] = [];
  let from: SourceEnd | undefined;
  const branches: Branch[] = [];
  try {
    const length = options.length ?? Number.POSITIVE_INFINITY;
    // At once: the caller may close a descriptor, and its number be used again, in this very turn (rule 40).
    if (isDescriptor(source)) from = openSource(source, length);
    for (const [index, destination] of destinations.entries()) {
      if (isDescriptor(destination)) ends[index] = openDestination(destination);
    }
    await Promise.all([source, ...destinations].map((end) => connected(end, options.signal)));
    from ??= openSource(source, length);
    for (const [index, destination] of destinations.entries()) ends[index] ??= openDestination(destination);
    return await run(from, ends as DestinationEnd[], branches, length, options);
  } finally {
    await Promise.all(branches.map((branch) => branch.idle()));
    for (const branch of branches) branch.release();
    from?.dispose();
    for (const end of ends) end?.dispose();
    release();
  }
}

/** A tee that did not reach the source's end. */
export class TeeError extends TransferError {
  readonly destinations: readonly TeeBranchResult[];

  constructor(error: TransferError, destinations: readonly TeeBranchResult[]) {
    super(error.message, { code: error.code, bytes: error.bytes, cause: error.cause });
    this.destinations = destinations;
  }
}

const resultsOf = (branches: readonly Branch[]): TeeBranchResult[] =>
  branches.map(({ bytes, error }) => (error === undefined ? { bytes } : { bytes, error }));

async function run(
  from: SourceEnd,
  ends: readonly DestinationEnd[],
  branches: Branch[],
  length: number,
  { signal, onProgress, dropAfter = 0 }: TeeOptions,
): Promise<TeeResult> {
  const refused =
    feature('tee').reason ??
    from.refused ??
    (from.socket === undefined ? 'the source is a file' : undefined) ??
    ends.find((end) => end.refused !== undefined)?.refused;
  const settled: (() => void)[] = [];
  let source: KernelSource;
  try {
    for (const end of ends) branches.push(await branchOf(end, refused !== undefined, settled, signal));
    source = refused === undefined ? from.take() : new StreamSource(from.stream());
  } catch (error) {
    for (const settle of settled) settle(); // a turn that is held would hold up its socket for ever
    throw transferError(error, 0);
  }
  const engine = new TeeEngine({ source, branches, dropAfter: timeoutOf(dropAfter, 'dropAfter', 0), refused });
  return new Promise((resolve, reject) => {
    const transfer = new Transfer({
      engine,
      length,
      signal,
      onProgress,
      onEnd(error, result) {
        from.socket?.off('close', onSourceClose);
        source.giveBack(engine.close(), engine.ended, engine.missing);
        for (const settle of settled) settle();
        if (error === null) resolve({ ...result, destinations: resultsOf(branches) });
        else {
          const cause = error.cause instanceof Error ? error.cause : undefined;
          if (engine.failed === 'source') from.socket?.destroy(cause);
          reject(new TeeError(error, resultsOf(branches)));
        }
      },
    });
    const onSourceClose = (): void => {
      if (refused === undefined) transfer.lost(from.socket?.errored ?? closed('source'));
    };
    from.socket?.on('close', onSourceClose);
    transfer.start();
  });
}

async function branchOf(
  end: DestinationEnd,
  copying: boolean,
  settled: (() => void)[],
  signal: AbortSignal | undefined,
): Promise<Branch> {
  if (copying) {
    const stream = end.stream();
    const destination = new StreamDestination(stream);
    settled.push(() => destination.release());
    const branch = new Branch(destination);
    if (isSocket(stream)) branch.onDrop = (error) => stream.destroy(error);
    return branch;
  }
  const { target } = end;
  if (!isSocket(target)) return new Branch(target);
  const turn = await turnOf(target, signal);
  const branch = new Branch(new SocketDestination(turn));
  // What it has got is not the whole: nothing may follow, and it must not look complete.
  branch.onDrop = (error) => {
    turn.abandon();
    target.destroy(error);
  };
  settled.push(() => turn.end());
  return branch;
}

function turnOf(socket: Socket, signal: AbortSignal | undefined): Promise<WriteSlot> {
  return new Promise((resolve, reject) => {
    const settle = (done: () => void): void => {
      signal?.removeEventListener('abort', onAbort);
      done();
    };
    const onAbort = (): void => {
      request.cancel();
      settle(() => reject(abortError(signal as AbortSignal, 0)));
    };
    signal?.addEventListener('abort', onAbort); // first: the turn may come at once
    const request = requestWriteSlot(socket, socket, {
      begin: (turn) => settle(() => resolve(turn)),
      dropped: () => settle(() => reject(closed('destination'))),
      lost: (error) => settle(() => reject(transferError(error ?? closed('destination'), 0))),
    });
  });
}
