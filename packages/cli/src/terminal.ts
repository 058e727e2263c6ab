/** Where a command is run: its streams, its environment and what may stop it. */
import type { Readable, Writable } from 'node:stream';
import { styleText } from 'node:util';

/** The streams and the rest of a process, as a command is given them. */
export interface Stdio {
  /** What is read, by `tee` only. */
  readonly stdin: Readable;
  /** For results. */
  readonly stdout: Writable & {
    /** Whether people look at it. */
    readonly isTTY?: boolean;
    /** Characters of a line, where they do. */
    readonly columns?: number;
  };
  /** For errors, progress and summaries. */
  readonly stderr: Writable & {
    /** Whether people look at it. */
    readonly isTTY?: boolean;
  };
  /** NO_COLOR, LISTEN_FDS and their like. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Stops the command; its reason may be an {@link Interruption}. */
  readonly signal?: AbortSignal;
}

/** The signals that ask a command to stop. */
export const SIGNALS = ['SIGHUP', 'SIGINT', 'SIGTERM'] as const;
const NUMBERS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;

/** The reason of an abort by a signal. */
export class Interruption extends Error {
  /** The exit status that says so: 128 and the number of the signal. */
  readonly status: number;

  /** @param name one of {@link SIGNALS}. */
  constructor(name: (typeof SIGNALS)[number]) {
    super(`stopped by ${name}`);
    this.status = 128 + NUMBERS[name];
  }
}

type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan';

/** A {@link Stdio} with what commands need of it. */
export class Terminal {
  readonly stdio: Stdio;
  readonly signal: AbortSignal;

  constructor(stdio: Stdio) {
    this.stdio = stdio;
    this.signal = stdio.signal ?? new AbortController().signal;
  }

  /** A line of the result. */
  out(text: string): void {
    if (this.stdio.stdout.writable) this.stdio.stdout.write(`${text}\n`);
  }

  /** A line for people. */
  note(text: string): void {
    if (this.stdio.stderr.writable) this.stdio.stderr.write(`${text}\n`);
  }

  /** Characters that a line of the result may have. */
  get width(): number {
    const { isTTY, columns = 0 } = this.stdio.stdout;
    return isTTY === true && columns >= NARROWEST ? Math.min(columns, WIDEST) : NARROWEST * 2;
  }

  /** Whether people look at standard error: progress is for them only. */
  get isWatched(): boolean {
    return this.stdio.stderr.isTTY === true;
  }

  /** Coloured where `stream` is a terminal and NO_COLOR is not set. */
  paint(style: Style, text: string, stream: 'stdout' | 'stderr' = 'stdout'): string {
    const coloured = this.stdio[stream].isTTY === true && !this.stdio.env.NO_COLOR && this.stdio.env.TERM !== 'dumb';
    // The check of styleText itself is about process.stdout, which need not be this one.
    return coloured
      ? (styleText as (style: Style, text: string, options: object) => string)(style, text, NO_CHECK)
      : text;
  }

  /** The status of a command that was stopped, or else `otherwise`. */
  interrupted(otherwise: number): number {
    const { aborted, reason } = this.signal;
    return aborted && reason instanceof Interruption ? reason.status : otherwise;
  }
}

/** Text that is narrower is not laid out any more. */
const NARROWEST = 40;
/** Longer lines are hard to read. */
const WIDEST = 100;
const NO_CHECK = { validateStream: false };
