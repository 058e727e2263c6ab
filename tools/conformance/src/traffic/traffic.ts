/** One way of moving known bytes by the public API, and what came of it. What disturbs it is somebody else's matter. */
import type { Background } from '../faults/injection.js';

export interface Setting {
  /** A directory of this run's own, empty at first. */
  readonly directory: string;
  /** What is to arrive. */
  readonly content: Buffer;
  readonly signal?: AbortSignal | undefined;
}

/** Of one destination. */
export interface Delivery {
  /** What the destination has got, once it is over. */
  readonly received: Buffer;
  /** Why it failed, as the API told it; undefined: it said that all went well. */
  readonly error?: NodeJS.ErrnoException | undefined;
  /** Bytes that the API says have left: with a failure, too. */
  readonly bytes: number;
  /** How, as the API says. */
  readonly method?: string | undefined;
  /** What was to arrive here, if it is not the setting's content. */
  readonly expected?: Buffer | undefined;
  /** Why fewer bytes than have left may have arrived, where the kernel throws away what is on its way; never more may. */
  readonly mayLose?: string | undefined;
  /** Why more bytes may have arrived than are told, where Node does not count them; never fewer may. */
  readonly mayGain?: string | undefined;
}

export interface Traffic {
  readonly name: string;
  /** What has to be different about the system for it to go the way its name says. */
  readonly background?: Background;
  /** What has to be there before, and is not disturbed: makes the source, for instance. */
  prepare?(setting: Setting): void;
  /** Resolves when everything it has opened is closed. One delivery for each destination. */
  run(setting: Setting): Promise<readonly Delivery[]>;
}

/** Bytes in which every position can be told from its neighbours and from a block away. */
export function pattern(length: number): Buffer {
  const buffer = Buffer.alloc(length);
  for (let at = 0; at < length; at++) buffer[at] = (at * 31 + (at >>> 8) * 17 + (at >>> 16) * 7) & 0xff;
  return buffer;
}
