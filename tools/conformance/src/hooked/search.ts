/** Draws cases, and runs each with the hook and, as its twin, without. */
import { pipeline, promises } from 'node:stream';
import { isDeepStrictEqual } from 'node:util';
import { install, type PipeKind, stats } from '@zerocopy/pipeline';
import { everyAction, isHarmless, isPeers } from '../actions.js';
import { DIAGNOSTICS, replaceStdout } from '../differential/cast.js';
import { Dice } from '../soak/random.js';
import { type Case, type Outcome, run } from './run.js';
import { type Stage, Stages } from './stage.js';

/** What {@link search} has found. */
export interface Found {
  readonly runs: number;
  /** Pipes that went beneath Node's, by their kind. */
  readonly kinds: Readonly<Record<string, number>>;
  readonly complaints: readonly { readonly tried: Case; readonly complaint: string }[];
}

const AT_ONCE = 4;
const KiB = 1024;
/** How often Node is asked for what it does: it leaves much to chance. */
const TWINS = 12;
/** The same once more, alone, for what has been other than Node's: beside the other cases, chance may have been against it. */
const TWINS_ALONE = 60;
/** Milliseconds. */
const LONG = 1500;
const PAIRS = [
  ['file', 'http'],
  ['file', 'socket'],
  ['file', 'https'],
  ['file', 'tls'],
  ['file', 'file'],
  ['socket', 'socket'],
  ['socket', 'file'],
  ['body', 'http'],
  ['body', 'socket'],
  ['body', 'file'],
] as const;
const ALL: Partial<Record<PipeKind, number>> = {
  'file->http': 1,
  'file->socket': 1,
  'file->file': 1,
  'body->http': 1,
  'body->socket': 1,
  'body->file': 1,
};

export function draw(dice: Dice): Case {
  const [from, to] = dice.oneOf(PAIRS);
  const size = dice.chance(0.2) ? dice.between(1, 70 * KiB) : dice.between(70 * KiB, 3000 * KiB);
  return {
    from,
    to,
    size,
    isLengthTold: dice.chance(0.5),
    act: dice.oneOf(everyAction),
    moment: dice.chance(0.4) ? dice.oneOf(['at once', 'tick', 'turn', DIAGNOSTICS] as const) : dice.between(0, size),
    join: dice.oneOf(['pipe', 'pipe', 'pipe', 'pipe', 'pipe to stdout', 'pipeline', 'pipeline'] as const),
  };
}

/** What takes the place of process.stdout is given back by this; only one can at a time. */
let giveBack: (() => unknown) | undefined;

/** The opted-out twin is piped by Node alone: the hook sees it, and leaves it. */
function join({ join: how, act }: Case, isOurs: boolean): (stage: Stage, signal: AbortSignal) => void {
  return ({ source, destination }, signal) => {
    if (!isOurs) Object.assign(source, { [Symbol.for('zerocopy.pipe')]: false });
    if (how === 'pipeline' && act.do === 'abort') promises.pipeline(source, destination, { signal }).catch(() => {});
    else if (how === 'pipeline') pipeline(source, destination, () => {});
    else if (how === 'pipe' || giveBack !== undefined) source.pipe(destination, { end: how === 'pipe' });
    else {
      const defer = (back: () => unknown): void => {
        giveBack = back;
      };
      replaceStdout({ defer }, destination);
      source.pipe(destination);
      destination.once('close', () => {
        giveBack?.();
        giveBack = undefined;
      });
    }
  };
}

/**
 * Writes that are under way when their stream is destroyed: with Node there are some, and their error is told, and may be the
 * first that `pipeline` hears. Where the kernel writes there are none.
 */
const CANCELLED = 'error ERR_STREAM_DESTROYED';
const PREMATURE = 'error ERR_STREAM_PREMATURE_CLOSE';

const comparable = ({ source, destination, isWhole }: Outcome): unknown => ({
  source: source.map((event) => (event === CANCELLED ? PREMATURE : event)),
  destination: destination.filter((event) => event !== CANCELLED),
  isWhole,
});

const earlier = (tried: Case, twins: number): Case =>
  typeof tried.moment === 'number' ? { ...tried, moment: Math.floor(tried.moment / (twins + 1)) } : tried;

/**
 * A request that is echoed into its own response, for a client that has reset the connection by the time it is looked at: Node reads the body
 * before it meets the reset, and here the head of the response meets it first (documented).
 */
const isEchoToNobody = ({ from, to, act, moment }: Case, { source, destination }: Outcome): boolean =>
  from === 'body' &&
  to === 'http' &&
  act.do.startsWith('reset') &&
  typeof moment === 'string' &&
  isDeepStrictEqual(source, ['aborted', 'error connection', 'close']) &&
  isDeepStrictEqual(destination, ['close']);

/** Runs `count` cases, drawn by `seed`, with files in `directory`. */
export async function search(count: number, seed: number, directory: string): Promise<Found> {
  const dice = new Dice(seed);
  const stages = new Stages(directory);
  await stages.start();
  const uninstall = install({ minBytes: ALL });
  const before = stats().kinds;
  const complaints: { tried: Case; complaint: string }[] = [];
  const doubtful: Case[] = [];
  let left = count;
  const one = async (): Promise<void> => {
    while (left-- > 0) {
      const tried = draw(dice);
      if ((await judged(stages, tried)) !== undefined) doubtful.push(tried);
    }
  };
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, one));
    for (const tried of doubtful) {
      const complaint = await judged(stages, tried, TWINS_ALONE);
      if (complaint !== undefined) complaints.push({ tried, complaint });
    }
  } finally {
    uninstall();
    stages.stop();
  }
  const kinds = Object.fromEntries(
    Object.entries(stats().kinds).map(([kind, number]) => [kind, number - (before[kind as PipeKind] ?? 0)]),
  );
  return { runs: count, kinds, complaints };
}

/** What is wrong, or undefined: nothing of what ours has come to, in several runs, is among what Node's has. */
async function judged(stages: Stages, tried: Case, twinsMax = TWINS): Promise<string | undefined> {
  let ours = await run(stages, tried, join(tried, true));
  if (ours.complaints.length > 0) ours = await run(stages, tried, join(tried, true), LONG);
  if (tried.moment === DIAGNOSTICS) return ours.complaints.length === 0 ? undefined : ours.complaints.join('; ');
  const all: Outcome[] = [ours];
  const seen: Outcome[] = [];
  // The kernel is sooner through with it: what comes in the midst of Node's reading may come too late to do any harm. The
  // other way round, a busy machine may let all of Node's arrive between two looks: then its twins have the act earlier.
  const isTooLate = (outcome: Outcome): boolean => {
    if (isHarmless(tried.act) || outcome.complaints.length > 0) return false;
    // What a peer that goes away has had by then is the network's to say.
    const isOut = outcome.source.includes('end') && outcome.destination.includes('finish');
    return outcome.isWhole || (isOut && isPeers(tried.act)) || isEchoToNobody(tried, outcome);
  };
  const isSeen = (outcome: Outcome): boolean =>
    seen.some(
      (twin) =>
        isDeepStrictEqual(comparable(twin), comparable(outcome)) &&
        isDeepStrictEqual(twin.complaints, outcome.complaints),
    );
  for (let twins = 0; twins < twinsMax; twins++) {
    const isThrough = !ours.isWhole && seen.length >= TWINS / 3 && seen.every(({ isWhole }) => isWhole);
    const twin = await run(stages, isThrough ? earlier(tried, twins) : tried, join(tried, false));
    seen.push(twin);
    if (ours.complaints.length > 0 && twin.complaints.length === 0 && twins > 3) break;
    if (isTooLate(ours)) return undefined;
    // Node alone gets stuck: Node 22 with a chunked response that is corked in the middle, for instance.
    if (ours.isWhole && ours.complaints.length === 0 && twin.complaints.length > 0) return undefined;
    if (isSeen(ours)) return undefined;
    if (twins % 4 === 3 && ours.complaints.length === 0) {
      ours = await run(stages, tried, join(tried, true));
      all.push(ours);
      if (isTooLate(ours) || isSeen(ours)) return undefined;
    }
  }
  if (ours.complaints.length > 0) return ours.complaints.join('; ');
  return `other than Node: ${distinct(all)}, and not ${distinct(seen)}`;
}

const distinct = (outcomes: readonly Outcome[]): string =>
  [...new Set(outcomes.map((outcome) => JSON.stringify(comparable(outcome))))].join(' or ');
