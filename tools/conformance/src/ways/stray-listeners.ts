/** Whether a transfer has taken its listeners back from the streams it was given. */
import type { EventEmitter } from 'node:events';
import type { Stage } from './stage.js';

const countsOf = (emitter: EventEmitter): Map<string | symbol, number> =>
  new Map(emitter.eventNames().map((event) => [event, emitter.listenerCount(event)]));

/**
 * Nothing is asked of Node's own transfers, which leave some, nor where somebody else listens, too.
 * @param things What is no emitter, such as a descriptor, is left out.
 * @returns what throws if a stream that is still alive has more listeners than before. One more for 'close' is allowed:
 * the write slots of a stream have one for all of them, for its life. So is one more for 'error' where the transfer failed: it
 * goes when the stream has told its own.
 */
export function listenersOf(stage: Stage, ...things: readonly unknown[]): (failed: boolean) => void {
  const emitters = things.filter((thing) => typeof thing === 'object') as (EventEmitter & { destroyed: boolean })[];
  const before = emitters.map(countsOf);
  return (failed) => {
    if (stage.side === 'node' || stage.isWatched) return;
    for (const [n, emitter] of emitters.entries()) {
      if (emitter.destroyed) continue; // its last events are still to come
      for (const [event, count] of countsOf(emitter)) {
        const kept = count - (before[n]?.get(event) ?? 0);
        const allowed = event === 'close' || (failed && event === 'error') ? 1 : 0;
        if (kept > allowed) throw new Error(`${kept} listeners for '${String(event)}' stayed`);
      }
    }
  };
}
