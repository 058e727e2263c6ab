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
  readonly program: unknown;
  /** Whether a program may meet it. */
  meets(program: Met): boolean;
}

/** What is looked at of programs. */
interface Met {
  readonly file?: unknown;
  readonly steps?: Steps;
  readonly exchanges?: readonly Met[];
}

const does = ({ steps = [] }: Met, ...whats: readonly Action['do'][]): boolean =>
  steps.some(({ what }) => whats.includes(what.do));

export const openFaults: readonly OpenFault[] = [
  {
    family: 'transfer',
    is: 'a directory cannot be sent, and the socket that it was for is destroyed',
    program: { file: 'directory', by: 'path', to: 'tcp', before: [], steps: [] },
    meets: ({ file }) => file === 'directory',
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
];

export const meetsOpenFault = (family: string, program: unknown): boolean =>
  openFaults.some((fault) => fault.family === family && fault.meets(program as Met));
