/** Whether a transfer has taken its listeners back from the streams it was given. */
import type { EventEmitter } from 'node:events';

export interface ListenerCount {
  /** Throws if a stream that is still alive has more listeners than before. */
  check(): void;
}

/** Of the socket's write queue, which is put in front of it once, for its life. */
const FOR_LIFE = 'tellTurnsOfClose';

function listeners(emitter: EventEmitter): Map<string | symbol, number> {
  const counts = new Map<string | symbol, number>();
  for (const event of emitter.eventNames()) {
    counts.set(event, emitter.listeners(event).filter(({ name }) => name !== FOR_LIFE).length);
  }
  return counts;
}

/** @param things what is no emitter, such as a descriptor, is left out. */
export function listenerCount(...things: readonly unknown[]): ListenerCount {
  const emitters = things.filter((thing) => typeof thing === 'object') as (EventEmitter & { destroyed: boolean })[];
  const before = emitters.map(listeners);
  return {
    check() {
      emitters.forEach((emitter, n) => {
        if (emitter.destroyed) return; // its last events are still to come
        for (const [event, count] of listeners(emitter)) {
          const kept = count - (before[n]?.get(event) ?? 0);
          if (kept > 0) throw new Error(`${kept} listeners for '${String(event)}' stayed`);
        }
      });
    },
  };
}
