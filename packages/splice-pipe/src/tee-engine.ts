/**
 * One source to several branches, by tee(2): the pages are in every pipe, and copied in none.
 *
 *   filling ──► teeing ──► a round: every branch drains ──► filling …
 *
 * The first branch's pipe is filled from the source, the others get its content by tee(2), then each is drained. The next
 * piece waits until the slowest is done, or has been dropped.
 */
import { constants, SyscallError, syscalls, TransferError } from '@zerocopy/core-syscalls';
import {
  clearTimeout,
  closedEarly,
  describeRefusal,
  type Resume,
  refusalOf,
  type Side,
  SOURCE_ENDED,
  setImmediate,
  setTimeout,
  transferError,
  WOULD_BLOCK,
} from '@zerocopy/transfer';
import { behind } from './head.js';
import { acquirePipe, type Pipe, takeFromPipe } from './pipe-pool.js';
import type { RelayEngine } from './relay.js';
import type { KernelSource } from './source.js';
import { SPLICE_FLAGS } from './splice-call.js';
import { SPLICE_REFUSALS } from './splice-refusals.js';
import type { TeeBranch } from './tee-branch.js';

const { EAGAIN, EINTR, EIO } = constants;
/** Of one call, and of one turn of the loop. */
const PIECE_MAX = 1024 * 1024;

export interface TeeEngineOptions {
  readonly source: KernelSource;
  readonly branches: readonly TeeBranch[];
  /** The branch of each slot, in the order of the slots. */
  readonly bySlot: readonly TeeBranch[];
  /** Milliseconds; 0: never. */
  readonly dropAfter: number;
  /** Why everything is to be copied, or undefined. */
  readonly refused: string | undefined;
}

/** One piece, on its way to every branch. */
interface Round {
  readonly bytes: number;
  readonly pending: Set<TeeBranch>;
  handing: boolean;
  timer: NodeJS.Timeout | undefined;
}

type Hand = (branch: TeeBranch, done: (error: Error | null) => void) => void;

export class TeeEngine implements RelayEngine {
  readonly syscall = 'tee';
  failed: Side | undefined;
  ended: boolean;
  /** Bytes that were read from the source and are in no branch, nor to be had again. */
  missing = 0;
  /** All destinations have it; it is still to be counted. */
  inStream = 0;
  readonly #branches: readonly TeeBranch[];
  readonly #bySlot: readonly TeeBranch[];
  readonly #source: KernelSource;
  readonly #dropAfter: number;
  /** Why everything is copied. */
  #refusal: string | undefined;
  #live: TeeBranch[];
  #head: Buffer;
  #pipes = false;
  #inTurn = 0;
  #round: Round | undefined;
  /** Of the wait under way. */
  #resume: Resume | undefined;

  constructor({ source, branches, bySlot, dropAfter, refused }: TeeEngineOptions) {
    this.#refusal = refused;
    this.#source = source;
    this.#branches = branches;
    this.#bySlot = bySlot;
    this.#live = [...branches];
    this.#head = source.takeHead();
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
    this.#resume = resume;
    if (this.#live.length === 0) this.#failAll();
    else if (this.#head.length > 0) {
      const part = this.#head.subarray(0, count);
      this.#head = behind(this.#head, part.length);
      this.#writeToAll(part);
    } else if (this.ended) this.#answer(null, SOURCE_ENDED);
    else if (this.#refusal !== undefined || !this.#acquirePipes()) this.#copy(count);
    else this.#fill(count);
  }

  /** Heard of at once, also while the source brings nothing. */
  lostSlot(index: number, error: Error | null): void {
    const branch = this.#bySlot[index];
    if (branch === undefined || branch.error !== undefined) return;
    this.#drop(branch, error ?? closedEarly('destination', branch.bytes));
    if (this.#round !== undefined) this.#endRound(this.#round);
    else if (this.#live.length === 0) this.#failAll();
  }

  /** @returns what is left of the head, as the source's own. */
  close(): Buffer {
    clearTimeout(this.#round?.timer);
    this.#round = undefined;
    this.#resume = undefined;
    for (const branch of this.#live) branch.release();
    return this.#head;
  }

  #answer(error: Error | null, bytes: number): void {
    const resume = this.#resume;
    this.#resume = undefined;
    resume?.(error, bytes);
  }

  #fail(error: Error, side: Side): void {
    this.failed = side;
    this.#answer(error, 0);
  }

  #failAll(): void {
    this.#fail(
      new TransferError('every destination has failed', { code: 'ERR_ALL_DESTINATIONS_FAILED', bytes: 0 }),
      'destination',
    );
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

  #fill(count: number): void {
    const [first] = this.#live as [TeeBranch];
    const pipe = first.pipe as Pipe;
    const fd = this.#source.descriptor();
    if (fd < 0) {
      // An attempt may come between a socket's closing and its event.
      this.#fail(this.#source.errored ?? closedEarly('source', 0), 'source');
      return;
    }
    const result = syscalls.splice(fd, null, pipe.writeFd, null, Math.min(count, PIECE_MAX), SPLICE_FLAGS);
    if (result > 0) {
      this.#source.took(result);
      pipe.held = result;
      this.#tee(pipe, result);
    } else if (result === -EINTR) this.#answer(null, 0);
    else if (result === 0 || result === -EAGAIN) {
      this.#releasePipes(); // none is held while idle
      // One byte is the wake-up; what comes with it is spliced. 0 is an end only if a read says so
      // (kernel-rules: urgent-mark).
      this.#copy(1);
    } else {
      const refusal = refusalOf(SPLICE_REFUSALS, result, pipe.writeFd);
      if (refusal === undefined) return this.#fail(new SyscallError(result, 'splice'), 'source');
      this.#refusal = describeRefusal('splice from the source', refusal);
      this.#releasePipes();
      this.#copy(count);
    }
  }

  /** Waits for the source; what its watcher reads goes to all by copying. */
  #copy(count: number): void {
    this.#source.onReadable(count, (error, chunk) => {
      if (error !== null) this.#fail(error, 'source');
      else if (chunk === null) {
        this.ended = true;
        this.#answer(null, SOURCE_ENDED);
      } else {
        this.#source.took(chunk.length);
        const part = Buffer.from(chunk.subarray(0, count));
        if (chunk.length > count) this.#head = Buffer.from(chunk.subarray(count));
        this.#writeToAll(part);
      }
    });
  }

  #tee(from: Pipe, bytes: number): void {
    for (const branch of this.#live.slice(1)) {
      const pipe = branch.pipe as Pipe;
      let result: number;
      do result = syscalls.tee(from.readFd, pipe.writeFd, bytes, constants.SPLICE_F_NONBLOCK);
      while (result === -EINTR);
      pipe.held = Math.max(0, result);
      if (result !== bytes) {
        // Nobody must ever get only a part of a piece.
        if (result < 0) this.#refusal = `tee was refused by the kernel (${new SyscallError(result, 'tee').code})`;
        this.#copyPiece(from);
        return;
      }
    }
    this.#toAll(bytes, (branch, done) => branch.drain(done));
  }

  /** What the first pipe holds goes to all by copying; what the others have got of it by tee(2) is thrown away. */
  #copyPiece(from: Pipe): void {
    const piece = Buffer.allocUnsafe(from.held);
    let taken = 0;
    while (from.held > 0) {
      const read = takeFromPipe(from, piece.subarray(taken), from.held);
      if (read <= 0) {
        this.missing = piece.length;
        this.#fail(new SyscallError(read === 0 ? EIO : read, 'read'), 'source');
        return;
      }
      taken += read;
    }
    this.#releasePipes();
    this.#writeToAll(piece);
  }

  #writeToAll(piece: Buffer): void {
    this.#toAll(piece.length, (branch, done) => branch.write(piece, done));
  }

  /** Hands one piece to every branch, and goes on when all of them have it, or have been dropped. */
  #toAll(bytes: number, hand: Hand): void {
    const round: Round = { bytes, pending: new Set(this.#live), handing: true, timer: undefined };
    this.#round = round;
    for (const branch of [...round.pending]) {
      if (!round.pending.has(branch)) continue; // lost while the one before got its share
      hand(branch, (error) => {
        if (!round.pending.delete(branch)) return; // dropped already
        if (error !== null) this.#drop(branch, error);
        this.#endRound(round);
      });
    }
    round.handing = false;
    if (round.pending.size > 0 && this.#dropAfter > 0) {
      // If this process was busy for that long, what has happened meanwhile is heard first.
      round.timer = setTimeout(() => setImmediate(() => this.#dropSlow(round)), this.#dropAfter);
    }
    this.#endRound(round);
  }

  #endRound(round: Round): void {
    if (round !== this.#round || round.handing || round.pending.size > 0) return;
    this.#round = undefined;
    clearTimeout(round.timer);
    if (this.#live.length > 0) this.#through(round.bytes);
    else this.#failAll();
  }

  #dropSlow(round: Round): void {
    if (round !== this.#round) return; // all have gone on meanwhile
    for (const branch of [...round.pending]) {
      const message = `the destination has kept the others waiting for ${this.#dropAfter} ms`;
      this.#drop(branch, new TransferError(message, { code: 'ERR_DESTINATION_TOO_SLOW', bytes: branch.bytes }));
    }
    this.#endRound(round);
  }

  #drop(branch: TeeBranch, error: Error): void {
    this.#live = this.#live.filter((other) => other !== branch);
    this.#round?.pending.delete(branch);
    branch.drop(transferError(error, branch.bytes));
  }

  /** Lets the loop go on after a turn's share, however fast all ends are (kernel-rules: bounded-turn). */
  #through(bytes: number): void {
    this.#inTurn += bytes;
    if (this.#inTurn < PIECE_MAX) {
      this.#answer(null, bytes);
      return;
    }
    this.#inTurn = 0;
    this.inStream = bytes;
    setImmediate(() => {
      this.inStream = 0;
      this.#answer(null, bytes);
    });
  }
}
