/** Who plays in a program of streams: a source, a destination, and a peer at the other end of a connection. */

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import fs, { readlinkSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Action, Scene } from '../actions.js';
import { type Share, separate, shareOf } from './bytes.js';
import { codeOf, Journal, type Step } from './journal.js';
import type { Run } from './run.js';
import type { FileSpec } from './workspace.js';

export type Join = 'pipe' | 'pipe without end' | 'pipeline';

/**
 * The moment of a subscriber of diagnostics_channel, told that a transfer starts. Node's streams publish nothing, so
 * what comes of it is compared with nothing; what must not be, must not be.
 */
export const DIAGNOSTICS = 'diagnostics';
const CHANNEL = 'tracing:zerocopy:transfer:start';

/** @returns what ends it. */
export function onTransferStart(callback: () => void): () => void {
  const subscriber = (): void => callback();
  subscribe(CHANNEL, subscriber);
  return () => void unsubscribe(CHANNEL, subscriber);
}

export class Cast extends Scene {
  readonly run: Run;
  readonly journal: Journal<Action>;
  timedOut = false;
  readonly #steps: readonly Step<Action>[];
  #onResume: () => void = () => {};

  constructor(run: Run, steps: readonly Step<Action>[]) {
    super();
    this.run = run;
    this.#steps = steps;
    this.journal = new Journal(steps, (action: Action) => this.perform(action));
    if (run.side === 'node' || !this.has((_what, when) => when === DIAGNOSTICS)) return;
    run.defer(onTransferStart(() => this.journal.cue(DIAGNOSTICS)));
  }

  has(what: (action: Action, when: string) => boolean): boolean {
    return this.#steps.some((step) => what(step.what, step.when));
  }

  does(what: Action['do']): boolean {
    return this.has((action) => action.do === what);
  }

  /** Joins source and destination, with writes of the program's own before and after. */
  join(how: Join, signal: boolean, before: readonly number[] = [], after: readonly number[] = []): void {
    const { journal, source, destination } = this as this & { source: Readable; destination: Writable };
    for (const bytes of before) this.write(bytes);
    journal.cue('join');
    this.ends = how !== 'pipe without end';
    if (how === 'pipeline') {
      pipeline(source, destination, signal ? { signal: this.controller.signal } : {}).then(
        () => journal.note('pipeline', 'done'),
        (error) => journal.note('pipeline', `error ${codeOf(error)}`),
      );
    } else source.pipe(destination, { end: this.ends });
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

  /** Once it has been piped: a second source's pipe is heard as well. */
  protected override isPiped(): boolean {
    return this.journal.count('destination', 'pipe') > (this.joined ? 1 : 0);
  }

  protected override asPeer(act: () => void): void {
    this.run.asPeer(act);
  }

  protected override resumePeer(): void {
    this.#onResume();
  }

  protected override attempt(act: () => unknown): void {
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
    if (typeof opened !== 'number') return opened.close().catch(() => {}); // a stream may have closed it
    return holdsFile() ? fs.closeSync(fd) : undefined;
  });
  return { options: { fd: opened }, opened, holdsFile };
}

/** Makes the stream what process.stdout is, until the run is over: nobody's pipe ends that. */
export function replaceStdout(run: Pick<Run, 'defer'>, stream: Writable): void {
  const stdout = Object.getOwnPropertyDescriptor(process, 'stdout') as PropertyDescriptor;
  Object.defineProperty(process, 'stdout', { configurable: true, enumerable: true, get: () => stream });
  run.defer(() => Object.defineProperty(process, 'stdout', stdout));
}
