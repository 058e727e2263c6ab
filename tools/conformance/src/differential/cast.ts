/**
 * Who plays in a program of streams - a source, a destination, and a peer at the other end of a connection - and all
 * that a program can do to them. Every family of streams has the same set of actions.
 */

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import fs, { readlinkSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type { ClientRequest } from 'node:http';
import type { Socket } from 'node:net';
import { PassThrough, type Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { resetConnection } from '@zerocopy/testing/sockets';
import { marks, type Share, separate, shareOf } from './bytes.js';
import { codeOf, Journal, type Step } from './journal.js';
import type { Run } from './run.js';
import type { FileSpec } from './workspace.js';

export type Role = 'source' | 'destination' | 'peer';

export type Action =
  | { readonly do: 'destroy'; readonly of: Role; readonly error?: boolean | undefined }
  | { readonly do: 'end'; readonly of: 'destination' | 'peer' }
  | { readonly do: 'write'; readonly bytes: number }
  /** Of the file that is read. */
  | { readonly do: 'truncate'; readonly size: number }
  /** Of the destination, a socket. */
  | { readonly do: 'timeout'; readonly milliseconds: number }
  | { readonly do: 'encode'; readonly encoding: 'latin1' | 'hex' }
  | {
      readonly do:
        | 'abort'
        | 'reset peer'
        | 'resume peer'
        | 'listen for data'
        | 'listen for readable'
        | 'unpipe'
        /** In one tick. */
        | 'pipe again'
        /** The source, to a second destination. */
        | 'pipe elsewhere'
        /** A second source, to the destination. */
        | 'pipe another'
        | 'pause source'
        | 'pause for a turn'
        | 'resume source'
        | 'unshift'
        | 'cork'
        | 'uncork';
    };

export type Join = 'pipe' | 'pipe without end' | 'pipeline';

/** Bytes that a second source brings. */
export const ANOTHER = 700;

/**
 * The moment of a subscriber of diagnostics_channel, told that a transfer starts. Node's streams publish nothing, so
 * what comes of it is compared with nothing; what must not be, must not be.
 */
export const DIAGNOSTICS = 'diagnostics';
const CHANNEL = 'tracing:zerocopy:transfer:start';

export const failure = (): Error => Object.assign(new Error('by the program'), { code: 'E_PROGRAM' });

export class Cast {
  readonly run: Run;
  readonly journal: Journal<Action>;
  readonly controller: AbortController = new AbortController();
  source: Readable | undefined;
  destination: Writable | undefined;
  peer: Socket | ClientRequest | undefined;
  /** Of the file that is read, if it is the program's own. */
  path: string | undefined;
  /** Of the program's own writes, the bytes. */
  written: Buffer = Buffer.alloc(0);
  /** Whether a write came by a step: at which byte is nobody's promise. */
  moved = false;
  timed = false;
  timedOut = false;
  /** Bytes that listeners of the program have heard. */
  heard: number | undefined;
  readonly #another: PassThrough = new PassThrough();
  readonly #steps: readonly Step<Action>[];
  #ends = true;
  #onResume: () => void = () => {};

  constructor(run: Run, steps: readonly Step<Action>[]) {
    this.run = run;
    this.#steps = steps;
    this.journal = new Journal(steps, (action: Action) => this.#perform(action));
    if (run.side === 'node' || !this.has((_what, when) => when === DIAGNOSTICS)) return;
    const onStart = (): void => this.journal.cue(DIAGNOSTICS);
    subscribe(CHANNEL, onStart);
    run.defer(() => unsubscribe(CHANNEL, onStart));
  }

  has(what: (action: Action, when: string) => boolean): boolean {
    return this.#steps.some((step) => what(step.what, step.when));
  }

  does(what: Action['do']): boolean {
    return this.has((action) => action.do === what);
  }

  /** Whether a second source has been piped to the destination. */
  get joined(): boolean {
    return this.#another.writableEnded;
  }

  write(bytes: number): void {
    const { destination } = this;
    if (destination === undefined || destination.destroyed || destination.writableEnded) return;
    const chunk = marks(bytes, this.written.length);
    this.written = Buffer.concat([this.written, chunk]);
    destination.write(chunk);
  }

  /** Joins source and destination, with writes of the program's own before and after. */
  join(how: Join, signal: boolean, before: readonly number[] = [], after: readonly number[] = []): void {
    const { journal, source, destination } = this as this & { source: Readable; destination: Writable };
    for (const bytes of before) this.write(bytes);
    journal.cue('join');
    this.#ends = how !== 'pipe without end';
    if (how === 'pipeline') {
      pipeline(source, destination, signal ? { signal: this.controller.signal } : {}).then(
        () => journal.note('pipeline', 'done'),
        (error) => journal.note('pipeline', `error ${codeOf(error)}`),
      );
    } else source.pipe(destination, { end: this.#ends });
    for (const bytes of after) this.write(bytes);
    journal.cue('same tick');
    process.nextTick(() => journal.cue('next tick'));
    setImmediate(() => this.run.asPeer(() => journal.cue('immediate')));
  }

  /** Collects what arrives; the peer stops reading after so many bytes. */
  collect(from: Readable, stopAt: number = Number.POSITIVE_INFINITY, slowly = false): Arrived {
    const chunks: Buffer[] = [];
    let [received, most] = [0, stopAt];
    from.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      received += chunk.length;
      if (slowly) {
        from.pause();
        setImmediate(() => from.resume());
      }
      if (received >= most) from.pause();
      this.journal.level('received', received);
    });
    if (most === 0) from.pause();
    this.#onResume = () => {
      most = Number.POSITIVE_INFINITY;
      from.resume();
    };
    return { bytes: () => Buffer.concat(chunks), length: () => received };
  }

  /** The program's own writes among what has arrived: none that is not theirs, and how many. */
  shareOfWrites(arrived: Buffer): Share | 'with others' | undefined {
    return this.joined ? 'with others' : shareOf(separate(arrived).marks, this.written);
  }

  #perform(action: Action): void {
    const { source, destination, peer, run } = this;
    const socket = peer !== undefined && 'socket' in peer ? ((peer.socket ?? peer) as Socket) : (peer as Socket);
    switch (action.do) {
      case 'destroy':
        if (action.of === 'peer') run.asPeer(() => peer?.destroy());
        else this[action.of]?.destroy(action.error === true ? failure() : undefined);
        break;
      case 'end':
        if (action.of === 'peer') run.asPeer(() => peer?.end());
        else this.#attempt(() => destination?.end());
        break;
      case 'write':
        this.moved = true;
        this.write(action.bytes);
        break;
      case 'truncate':
        if (this.path !== undefined && fs.statSync(this.path).size > action.size)
          fs.truncateSync(this.path, action.size);
        break;
      case 'timeout':
        this.timed = true;
        (destination as Socket).setTimeout(action.milliseconds);
        break;
      case 'encode':
        source?.setEncoding(action.encoding);
        break;
      case 'abort':
        this.controller.abort();
        break;
      case 'reset peer':
        run.asPeer(() => resetConnection(socket));
        break;
      case 'resume peer':
        this.timed = false;
        this.#onResume();
        break;
      case 'listen for data':
        this.heard ??= 0;
        source?.on('data', (chunk: Buffer) => {
          this.heard = (this.heard ?? 0) + chunk.length;
        });
        break;
      case 'listen for readable':
        source?.on('readable', () => {});
        break;
      case 'unpipe':
        source?.unpipe(destination);
        break;
      case 'pipe again':
        // Once it has been piped: a second source's pipe is heard as well.
        if (this.journal.count('destination', 'pipe') <= (this.joined ? 1 : 0)) break;
        source?.unpipe(destination);
        source?.pipe(destination as Writable, { end: this.#ends });
        break;
      case 'pipe elsewhere':
        source?.pipe(new PassThrough().resume());
        break;
      case 'pipe another':
        if (this.joined || destination === undefined) break;
        this.#another.end(marks(ANOTHER, 0));
        this.#another.pipe(destination, { end: false });
        break;
      case 'pause source':
        source?.pause();
        break;
      case 'pause for a turn':
        source?.pause();
        setImmediate(() => source?.resume());
        break;
      case 'resume source':
        source?.resume();
        break;
      case 'unshift':
        if (source !== undefined && !source.readableEnded && !source.destroyed) source.unshift(Buffer.alloc(0));
        break;
      case 'cork':
        destination?.cork();
        break;
      case 'uncork':
        this.#attempt(() => destination?.uncork());
        break;
    }
  }

  /** What is held back of a stream that could not be opened is written to no descriptor, and that throws. */
  #attempt(act: () => unknown): void {
    try {
      act();
    } catch (error) {
      this.journal.note('destination', `throws ${codeOf(error)}`);
    }
  }
}

export interface Arrived {
  bytes(): Buffer;
  length(): number;
}

/** A file to read, or what is none. */
export type FileName = FileSpec | 'missing' | 'directory' | 'device' | 'procfs';

/** @param own Whether the program changes the file. */
export function pathOf({ workspace }: Run, file: FileName, own = false): string {
  if (typeof file === 'object') return own ? workspace.copyOf(file) : workspace.file(file);
  if (file === 'missing') return workspace.scratch();
  if (file === 'directory') return workspace.scratchDirectory();
  return file === 'procfs' ? '/proc/version' : '/dev/null';
}

export interface Given {
  /** Options for a stream over it; none, if it is named by its path. */
  readonly options: { fd?: number | FileHandle };
  /** What was opened. */
  readonly opened: number | FileHandle | undefined;
  /** Whether its number is open on the file still; undefined: it has none. */
  holdsFile(): boolean | undefined;
}

/** The file as a program is given it: by its path, or opened already. Closed when the run is over, if it is open still. */
export async function give(run: Run, path: string, by: string, flags = 'r'): Promise<Given> {
  if (by !== 'descriptor' && by !== 'handle') return { options: {}, opened: undefined, holdsFile: () => undefined };
  const opened = by === 'descriptor' ? fs.openSync(path, flags) : await open(path, flags);
  const fd = typeof opened === 'number' ? opened : opened.fd;
  const holdsFile = (): boolean => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === path;
    } catch {
      return false;
    }
  };
  run.defer(() => {
    if (typeof opened !== 'number') return opened.close().catch(() => {});
    return holdsFile() ? fs.closeSync(fd) : undefined;
  });
  return { options: { fd: opened }, opened, holdsFile };
}

/** Makes the stream what process.stdout is, until the run is over: nobody's pipe ends that. */
export function replaceStdout(run: Run, stream: Writable): void {
  const stdout = Object.getOwnPropertyDescriptor(process, 'stdout') as PropertyDescriptor;
  Object.defineProperty(process, 'stdout', { configurable: true, enumerable: true, get: () => stream });
  run.defer(() => Object.defineProperty(process, 'stdout', stdout));
}
