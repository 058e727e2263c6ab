/**
 * The first look at a pair: nothing is loaded before one comes that could matter. What loads then is `consider.lazy.js`,
 * and with it the packages that know the ways.
 */
import type { Readable } from 'node:stream';
import type * as Consider from './consider.lazy.js';
import type { PipeObserver } from './hook.js';
import { keepOriginals } from './node-files.js';
import { triage } from './pipe-kind.js';
import { CALLED_PLAN, type PipePlan } from './plan.js';
import { countDeclined } from './stats.js';

/** `stream[Symbol.for('zerocopy.pipe')] = false`: the pipes of this stream are left to Node. */
export const kOptOut: unique symbol = Symbol.for('zerocopy.pipe');

const hasOptedOut = (stream: object): boolean => (stream as { [kOptOut]?: unknown })[kOptOut] === false;

let consider: typeof Consider.consider | undefined;
/** How often it could not be loaded: a test may have a virtual filesystem in the place of the real one for a while. */
let failures = 0;
const FAILURES_MAX = 3;

/** What looks at pairs that could matter; undefined: it cannot be loaded. */
function loaded(): typeof Consider.consider | undefined {
  if (consider !== undefined || failures === FAILURES_MAX) return consider;
  try {
    // By require, which loads at once: in the CommonJS build it is a file of its own, in a bundle a part of it.
    consider = (require('./consider.lazy.js') as typeof Consider).consider;
  } catch (error) {
    failures++;
    if (failures === FAILURES_MAX) warn(error);
  }
  return consider;
}

function warn(error: unknown): void {
  const message = `@zerocopy/pipeline leaves all pipes to Node: ${(error as Error | undefined)?.message ?? String(error)}`;
  process.emitWarning(message, { code: 'ZEROCOPY_PIPELINE' });
}

/** Looks at pairs as `plan` says. Never throws: Node's pipe stands, whatever comes of it. */
export function observerOf(plan: PipePlan): PipeObserver {
  keepOriginals();
  return (source, destination) => {
    try {
      return look(plan, source, destination);
    } catch (error) {
      countDeclined(`the look at it failed: ${(error as Error | undefined)?.message ?? String(error)}`);
      return true;
    }
  };
}

/** @returns whether it has been dealt with. */
function look(
  { minBytes, filter, opensAtOnce = false }: PipePlan,
  source: Readable,
  destination: NodeJS.WritableStream,
): boolean {
  const seen = triage(source, destination);
  if (seen === undefined) return false;
  const refused = 'refused' in seen ? seen.refused : undefined;
  const least = 'kind' in seen ? minBytes.get(seen.kind) : undefined;
  if (refused === undefined && least === undefined) return false;
  if (refused !== undefined) countDeclined(refused);
  else if (hasOptedOut(source) || hasOptedOut(destination)) countDeclined('the stream has been opted out');
  else if (filter !== undefined && !filter(source, destination)) countDeclined('the filter has left it out');
  else if ('kind' in seen) {
    const examine = loaded();
    if (examine === undefined) countDeclined('the packages that know the way are not loaded');
    else examine(seen.kind, source, destination, least as number, opensAtOnce);
  }
  return true;
}

const observeCalled: PipeObserver = observerOf(CALLED_PLAN);

/** Looks at one pair of `pipeline`, which Node has just piped. Never throws. */
export const lookAt = (source: Readable, destination: NodeJS.WritableStream): void => {
  if (process.platform === 'linux') observeCalled(source, destination);
};
