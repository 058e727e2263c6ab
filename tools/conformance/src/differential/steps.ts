/** Arbitraries of actions, and of when they come. */
import fc from 'fast-check';
import type { Action, Role } from '../actions.js';
import { DIAGNOSTICS } from './cast.js';
import type { Step } from './journal.js';

export type Steps = readonly Step<Action>[];

export const simple = (...names: readonly Action['do'][]): fc.Arbitrary<Action> =>
  fc.constantFrom(...names).map((name) => ({ do: name }) as Action);

export const destroying = (...roles: readonly (Role | 'both')[]): fc.Arbitrary<Action> =>
  fc.record({ do: fc.constant('destroy'), of: fc.constantFrom(...roles), error: fc.boolean() });

export const writing: fc.Arbitrary<Action> = fc.record({
  do: fc.constant('write'),
  bytes: fc.integer({ min: 1, max: 2000 }),
});

export const ending = (of: 'destination' | 'peer'): fc.Arbitrary<Action> => fc.constant({ do: 'end', of });

export interface Traits {
  /** Whom it may destroy. What a peer does in the middle of a transfer comes at another byte in each run. */
  readonly roles: readonly Role[];
  /** Whom it may end; default: nobody. */
  readonly ends?: 'destination' | 'peer' | undefined;
  /** Bytes of a file that may be cut short; default: it is not. */
  readonly file?: number | undefined;
  /** Whether the destination is a socket, and so has a time-out. */
  readonly socket?: boolean | undefined;
  /** Whether the peer may reset its connection. */
  readonly resets?: boolean | undefined;
}

/** Everything that can be done to a source and a destination that are joined: the same in every family. */
export const anything = ({ roles, ends, file, socket = false, resets = false }: Traits): fc.Arbitrary<Action> =>
  fc.oneof(
    destroying(...roles),
    writing,
    simple('abort', 'listen for data', 'listen for data, once', 'listen for readable'),
    simple('unpipe', 'unpipe for a turn', 'pipe again', 'pipe elsewhere', 'pipe another', 'unshift'),
    simple('pause source', 'pause for a turn', 'pause and resume', 'resume source'),
    simple('cork', 'uncork', 'cork for a turn', ...(resets ? (['reset peer'] as const) : [])),
    fc.record({ do: fc.constant('encode'), encoding: fc.constantFrom('latin1', 'hex') }),
    ...(ends === undefined ? [] : [ending(ends)]),
    ...(file === undefined
      ? []
      : [fc.record({ do: fc.constant('truncate'), size: fc.integer({ min: 0, max: file }) })]),
    ...(socket ? [fc.record({ do: fc.constant('timeout'), milliseconds: fc.integer({ min: 1, max: 15 }) })] : []),
  );

export const at = (when: fc.Arbitrary<string>, what: fc.Arbitrary<Action>): fc.Arbitrary<Step<Action>> =>
  fc.record({ when, what });

/** What a subscriber of diagnostics_channel does when it is told that a transfer starts. */
export const bySubscriber: fc.Arbitrary<Step<Action>> = at(
  fc.constant(DIAGNOSTICS),
  fc.oneof(
    destroying('source', 'destination'),
    simple('abort', 'unpipe', 'pipe again', 'pause source', 'pause for a turn', 'listen for data', 'pipe elsewhere'),
    simple('cork'),
    writing,
  ),
);

export const none: fc.Arbitrary<Steps> = fc.constant([]);
