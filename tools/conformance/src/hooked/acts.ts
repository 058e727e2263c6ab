/** What other code does to a pipe, at some moment. */

import { PassThrough } from 'node:stream';
import { resetConnection } from '@zerocopy/testing/sockets';
import type { Stage } from './stage.js';

/** A mark that is in no content. */
export const MARK: Buffer = Buffer.from([0, 1, 0]);

/** What a run keeps of an act. */
export interface Witness {
  /** What somebody else got, from some byte on. */
  readonly also: Buffer[];
}

export interface Act {
  /** Whether all bytes arrive nevertheless. */
  readonly isHarmless: boolean;
  do(stage: Stage, witness: Witness): void;
}

export const acts: Readonly<Record<string, Act>> = {
  nothing: { isHarmless: true, do() {} },
  'the source is destroyed': { isHarmless: false, do: ({ source }) => void source.destroy() },
  'the source is destroyed with an error': {
    isHarmless: false,
    do: ({ source }) => void source.destroy(new Error('mine')),
  },
  'the destination is destroyed': { isHarmless: false, do: ({ destination }) => void destination.destroy() },
  'the destination is destroyed with an error': {
    isHarmless: false,
    do: ({ destination }) => void destination.destroy(new Error('mine')),
  },
  'both are destroyed': {
    isHarmless: false,
    do({ source, destination }) {
      destination.destroy();
      source.destroy();
    },
  },
  'the destination is ended': { isHarmless: false, do: ({ destination }) => void destination.end() },
  'it is paused, and resumed': {
    isHarmless: true,
    do({ source }) {
      source.pause();
      setTimeout(() => source.resume(), 3);
    },
  },
  'another listens': {
    isHarmless: true,
    do: ({ source }, { also }) => void source.on('data', (chunk) => also.push(chunk)),
  },
  'it is piped elsewhere, too': {
    isHarmless: true,
    do({ source }, { also }) {
      const through = new PassThrough();
      through.on('data', (chunk) => also.push(chunk));
      source.pipe(through);
    },
  },
  'it is unpiped, and piped again': {
    isHarmless: true,
    do({ source, destination }) {
      source.unpipe(destination);
      setTimeout(() => source.pipe(destination), 2);
    },
  },
  'something is written in between': {
    isHarmless: true,
    do({ destination }) {
      if (!destination.writableEnded && !destination.destroyed) destination.write(MARK);
    },
  },
  'the destination is corked, and uncorked': {
    isHarmless: true,
    do({ destination }) {
      destination.cork();
      setTimeout(() => destination.uncork(), 2);
    },
  },
  'the receiver leaves': { isHarmless: false, do: ({ receiver }) => void receiver?.destroy() },
  'the receiver resets': { isHarmless: false, do: ({ receiver }) => receiver && resetConnection(receiver) },
  'the sender leaves': { isHarmless: false, do: ({ feeder }) => void feeder?.destroy() },
  'the sender resets': { isHarmless: false, do: ({ feeder }) => feeder && resetConnection(feeder) },
};
