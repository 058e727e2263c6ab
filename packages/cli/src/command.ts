/** What a command is: from such a description come its parsing, its help, the completions and the man page. */
import type { Terminal } from './terminal.js';

/** An option of a command. */
export interface OptionSpec {
  readonly name: string;
  /** One letter. */
  readonly short?: string;
  /** What its value is called in the help; an option without one is a switch. */
  readonly value?: string;
  /** The value of `--name` without `=`: then a value has to be given with `=`, as with GNU's programs. */
  readonly implied?: string;
  /** May be given several times. */
  readonly multiple?: boolean;
  /** All values that there are. */
  readonly choices?: readonly string[];
  readonly text: string;
}

/** A command of `zerocopy`. */
export interface CommandSpec {
  readonly name: string;
  readonly summary: string;
  /** Operands as in the synopsis. */
  readonly operands: string;
  /** How many operands there are, both inclusive. */
  readonly count: readonly [least: number, most: number];
  /** What a shell completes the operands with. */
  readonly completes: 'files' | 'directories' | 'nothing';
  /** Paragraphs. */
  readonly description: readonly string[];
  readonly options: readonly OptionSpec[];
  readonly examples: readonly (readonly [line: string, meaning: string])[];
  /** Exit statuses beside those of all commands. */
  readonly exits?: readonly (readonly [status: number, meaning: string])[];
  /** Loaded when it is run, so that no command pays for another. */
  load(): Promise<{ readonly run: CommandRun }>;
}

/** Runs a command. @returns the exit status. @throws {UsageError} for values that make no sense. */
export type CommandRun = (call: Call, terminal: Terminal) => Promise<number>;

/** What was asked for. */
export class Call {
  readonly command: string;
  readonly operands: readonly string[];
  /** As it was written. */
  readonly args: readonly string[];
  readonly #values: ReadonlyMap<string, readonly (string | true)[]>;
  /** Names of the options that were given, as often as they were, in this order. */
  readonly #order: readonly string[];

  constructor(
    command: string,
    args: readonly string[],
    operands: readonly string[],
    values: ReadonlyMap<string, readonly (string | true)[]>,
    order: readonly string[],
  ) {
    this.command = command;
    this.args = args;
    this.operands = operands;
    this.#values = values;
    this.#order = order;
  }

  /** Whether an option was given. */
  has(name: string): boolean {
    return this.#values.has(name);
  }

  /** Which of these options was given last. */
  last<Name extends string>(names: readonly Name[]): Name | undefined {
    return this.#order.findLast((name): name is Name => (names as readonly string[]).includes(name));
  }

  /** The value of an option, the last if there are several. */
  value(name: string): string | undefined {
    const last = this.#values.get(name)?.at(-1);
    return last === true ? undefined : last;
  }

  /** All values of an option. */
  all(name: string): readonly string[] {
    return (this.#values.get(name) ?? []).filter((value) => value !== true);
  }

  /** The value of an option, read by `read`, whose errors name the option. */
  read<Value>(name: string, read: (text: string) => Value | undefined, expected: string): Value | undefined {
    const text = this.value(name);
    if (text === undefined) return undefined;
    const value = read(text);
    if (value === undefined) throw new UsageError(`--${name}: expected ${expected}, got '${text}'`);
    return value;
  }
}

/** The command line makes no sense: exit status 2. */
export class UsageError extends Error {}

/** Exit status of `probe`: something is not there, and the rest is. */
export const PARTLY = 3;

/** Exit statuses of all commands. */
export const EXITS: readonly (readonly [number, string])[] = [
  [0, 'done'],
  [1, 'failed, also if only in part'],
  [2, 'the command line makes no sense; nothing was done'],
  [129, 'stopped by SIGHUP (the terminal is gone)'],
  [130, 'stopped by SIGINT (Ctrl-C)'],
  [143, 'stopped by SIGTERM'],
];
