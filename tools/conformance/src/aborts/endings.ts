/** The ways in which a process ends in the middle of its transfers. The child program arms them; see child.ts. */
import type { Side } from '../ways/twins.js';

export interface Ending {
  readonly name: string;
  /** 'busy': everything moves. 'idle': everything waits for a peer, and nothing keeps the process alive. */
  readonly cargo: 'busy' | 'idle';
  /** Sent by another process. */
  readonly signal?: 'SIGTERM' | 'SIGINT';
  /** It may come while the process is still starting its transfers. */
  readonly mayBeEarly: boolean;
  /**
   * Whether the first line of stderr is to be the twin's. Not where an exception is thrown into a stream of ours that
   * reports it by 'error', and in Node's is nobody's; nor where a promise of ours rejects with an error of its own whose
   * cause it is. Both end the process, and name it.
   */
  readonly sameFirstLine: boolean;
}

const ending = (name: string, more: Partial<Ending> = {}): Ending => ({
  name,
  cargo: 'busy',
  mayBeEarly: more.signal === undefined,
  sameFirstLine: true,
  ...more,
});

export const endings: readonly Ending[] = [
  ending('process.exit()'),
  ending('process.exit() in onProgress'),
  ending('process.exit() in a listener'),
  ending('SIGTERM', { signal: 'SIGTERM', mayBeEarly: true }),
  ending('SIGINT', { signal: 'SIGINT', mayBeEarly: true }),
  ending('SIGTERM with a handler', { signal: 'SIGTERM' }),
  ending('SIGINT with a handler', { signal: 'SIGINT' }),
  ending('uncaught exception'),
  ending('uncaught exception in onProgress', { sameFirstLine: false }),
  ending('uncaught exception in a listener', { sameFirstLine: false }),
  ending('uncaught exception in a diagnostics_channel subscriber'),
  ending('exception with a handler for it'),
  ending('unhandled rejection'),
  ending('natural end', { cargo: 'idle', mayBeEarly: false }),
  ending('worker.terminate()'),
  ending('process.exit() in a worker'),
  ending('uncaught exception in a worker'),
  ending('process.exit() with workers busy'),
  ending('SIGTERM with workers busy', { signal: 'SIGTERM' }),
];

/** What the parent tells the child, as JSON in its first argument. */
export interface ChildOrder {
  readonly side: Side;
  readonly ending: string;
  /** Do not wait until everything moves. */
  readonly early: boolean;
  /** Milliseconds from then on. */
  readonly delay: number;
  readonly directory: string;
  readonly file: string;
  /** In worker threads, too, what Node or koffi abort in if the thread is terminated at the wrong moment. */
  readonly hazards: boolean;
}

/** What a child prints when everything moves, or waits. */
export const READY = 'ready';
/** In the message of every error that is thrown on purpose. */
export const MARK = 'thrown on purpose';
