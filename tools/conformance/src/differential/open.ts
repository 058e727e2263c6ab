/**
 * Differences that are known faults of the packages, and are not mended yet. Everyday samples leave such programs out;
 * test/differential.test.ts keeps one program of each as a test that has to fail, until it does not: then its entry goes.
 */
import type { Action } from './cast.js';
import type { Steps } from './steps.js';

export interface OpenFault {
  readonly family: string;
  /** What is wrong. */
  readonly is: string;
  /** Of one that is met by chance only there is none. */
  readonly program?: unknown;
  /** Whether a program may meet it. */
  meets(program: Met): boolean;
}

/** What is looked at of programs. */
interface Met {
  readonly join?: string;
  readonly stdout?: boolean;
  readonly until?: number;
  readonly corked?: boolean;
  readonly steps?: Steps;
  readonly exchanges?: readonly Met[];
}

const does = ({ steps = [] }: Met, ...whats: readonly Action['do'][]): boolean =>
  steps.some(({ what }) => whats.includes(what.do));

const stream = { from: 'tcp', to: 'tcp', bytes: 262_143, join: 'pipeline', before: [], after: [] } as const;

export const openFaults: readonly OpenFault[] = [
  {
    family: 'stream',
    is: 'an encoding that is set once it is piped is not heeded',
    program: { ...stream, join: 'pipe', steps: [{ when: 'same tick', what: { do: 'encode', encoding: 'hex' } }] },
    meets: (program) => does(program, 'encode'),
  },
  {
    family: 'stream',
    is: 'standard output is ended',
    program: { ...stream, join: 'pipe', bytes: 1000, stdout: true, steps: [] },
    meets: ({ stdout }) => stdout === true,
  },
  {
    family: 'stream',
    is: 'destroyed or left by a subscriber of diagnostics_channel it leaves pipes open, now and then',
    meets: ({ steps = [] }) => steps.some(({ when }) => when === 'diagnostics'),
  },
  {
    family: 'stream',
    is: 'a destination that is destroyed while it waits fails with ECONNRESET, and in Node with a premature close',
    program: {
      ...stream,
      bytes: 12_582_912,
      until: 16,
      steps: [{ when: 'stalled', what: { do: 'destroy', of: 'destination', error: false } }],
    },
    meets: (program) => program.until !== undefined && does(program, 'destroy'),
  },
  {
    family: 'http',
    is: 'a small file piped into a response that stays corked is waited for for ever',
    program: {
      exchanges: [
        {
          method: 'GET',
          status: 200,
          file: { size: 65_537 },
          headers: 'on time',
          by: 'pipe',
          before: [],
          after: [],
          corked: true,
          steps: [{ when: 'same tick', what: { do: 'cork' } }],
          options: { end: 0 },
        },
      ],
    },
    meets: ({ exchanges = [] }) => exchanges.some((exchange) => does(exchange, 'cork')),
  },
  {
    family: 'http',
    is: 'a second source that is piped into a response exceeds the Content-Length that was announced for the file',
    program: {
      exchanges: [
        {
          method: 'GET',
          status: 200,
          file: { size: 65_535 },
          headers: 'on time',
          by: 'pipe',
          before: [],
          after: [],
          steps: [{ when: 'source open', what: { do: 'pipe another' } }],
          options: {},
        },
      ],
    },
    meets: ({ exchanges = [] }) => exchanges.some((exchange) => does(exchange, 'pipe another')),
  },
];

export const meetsOpenFault = (family: string, program: unknown): boolean =>
  openFaults.some((fault) => fault.family === family && fault.meets(program as Met));
