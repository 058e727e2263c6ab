/** Every way of the catalogue that has a twin, beside it, under each of the actions, at each moment that it has. */
import { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { turn } from '@zerocopy/testing/waiting';
import fc from 'fast-check';
import { type Action, everyAction, isHarmless, isOf, isPeers } from '../../actions.js';
import { allWays, wayNamed, whyNot } from '../../ways/index.js';
import { begin, type Delivery, type Players, type Told, type Way } from '../../ways/way.js';
import { MiB } from '../arbitraries.js';
import { content, difference, separate, shareOf } from '../bytes.js';
import { Cast } from '../cast.js';
import {
  allowConnectionGone,
  allowCorkedFull,
  allowLeftOpen,
  allowNoCancelledWrite,
  allowWrittenAfterFile,
} from '../documented.js';
import { codeOf } from '../journal.js';
import type { Family, Observation, Outcome, Run } from '../run.js';
import type { Steps } from '../steps.js';

export interface WayProgram {
  readonly way: string;
  readonly steps: Steps;
}

/** More than sockets hold of a stage whose receivers wait. */
const SIZE = MiB + 1234;

async function run({ way: name, steps }: WayProgram, run: Run): Promise<Observation> {
  const way = wayNamed(name);
  const cast = new Cast(run, steps);
  const { journal } = cast;
  const held = cast.has((_what, when) => when === 'stalled');
  const { side } = run;
  let seen: Writable | undefined;
  let players = 0;
  const onPlayer = (role: keyof Players, stream: Readable | Writable): void => {
    players++;
    Object.assign(cast, { [role]: stream });
    // The socket below a stream of ours is no player: its end comes before the stream's.
    const isBelow = side === 'ours' && way.twin === 'the socket' && stream instanceof Socket;
    if (role === 'source' && !isBelow) journal.watch(role, stream, ['open', 'end', 'error', 'close']);
    if (role !== 'destination') return;
    journal.watch(role, stream, ['open', 'pipe', 'finish', 'error', 'close']);
    seen = stream as Writable;
  };
  const { signal } = cast.controller;
  const directory = run.workspace.scratchDirectory();
  const begun = await begin(way, { directory, content: content(0, SIZE), side, signal, onPlayer }, held);
  const { stage, over } = begun;
  stage.isWatched = true;
  run.defer(() => stage.dispose());
  let deliveries: readonly Delivery[] | undefined;
  let told: readonly Told[] = [];
  over
    .then((all) => {
      told = all;
      for (const [n, { error }] of all.entries())
        journal.note(`end ${n}`, error === undefined ? 'done' : `error ${codeOf(error)}`);
      return stage.deliveries(all);
    })
    .then(
      (all) => {
        deliveries = all;
      },
      (error: Error) => run.violation(`it threw ${error.stack}`),
    );
  const isOver = (): boolean => deliveries !== undefined || run.violations.length > 0;
  let arrived = 0;
  /** What arrives is activity. */
  const heeding = (done: () => boolean) => (): boolean => {
    const now = stage.arrived();
    if (now !== arrived) journal.touch();
    arrived = now;
    return done();
  };
  // The streams of an exchange are there when its request has come.
  while (players === 0 && !begun.moving()) await turn();
  journal.cue('begun');
  if (held) {
    await run.settle(
      journal,
      heeding(() => told.length > 0),
    ); // by then the step is done
    stage.goOn();
  }
  if (players === 0) await over.catch(() => {}); // between files nothing is seen to go on, and nothing stands still
  const settled = await run.settle(journal, heeding(isOver));

  const arrivals =
    deliveries?.map(({ received, expected }) => ({ bytes: received, expected: expected ?? stage.content })) ??
    stage.soFar();
  const decoded = cast.does('encode');
  const harmless = steps.every(({ what }) => isHarmless(what));
  const shares = arrivals.map(({ bytes, expected }, n) => {
    const file = n === 0 ? separate(bytes).file : bytes; // what is written goes to the first
    const share = shareOf(file, expected);
    if (decoded) return 'decoded';
    if (share === undefined) run.violation(`at ${n} ${difference(file, expected)}`);
    const { error, bytes: counted, mayGain } = told[n] ?? {};
    if (run.side === 'node' || told[n] === undefined) return share;
    if (error === undefined && share !== 'all' && harmless && cast.written.length === 0 && !cast.joined && !isLent(way))
      run.violation(`a success at ${n}, and ${share} of it`);
    // An fs.WriteStream does not count a write that is under way when it is destroyed.
    const isExact = mayGain === undefined && way.twin !== 'fs.createWriteStream';
    if (counted !== undefined && isExact && counted < file.length)
      run.violation(`${counted} bytes were told at ${n}, and ${file.length} have arrived`);
    return share;
  });
  const own = arrivals[0] === undefined || decoded ? 'with others' : cast.shareOfWrites(arrivals[0].bytes);
  if (own === undefined) run.violation('of the writes, others');
  return {
    violations: [],
    outcome: {
      ended: settled,
      events: journal.entries(),
      shares,
      own,
      destination: seen && { errored: seen.errored && codeOf(seen.errored) },
    },
  };
}

function reconcile({ way, steps }: WayProgram, node: Outcome, ours: Outcome): void {
  const named = wayNamed(way);
  if (named.twin === 'the socket') node.events.source = ours.events.source; // one that stays open to be written to
  allowNoCancelledWrite(node.destination, ours.destination);
  allowConnectionGone(steps, node, ours);
  allowCorkedFull(steps, node, ours);
  allowWrittenAfterFile(steps, node, ours);
  if (isCall(named)) allowLeftOpen(node, ours, steps);
}

/** What is in the write of the headers is over before anything can be done. */
const twinned = allWays.filter(
  (way) => way.twin !== undefined && whyNot(way) === undefined && !way.name.includes('write of its headers'),
);

/** Nobody sees a stream that is joined but by what it was given. */
const isCall = ({ promised = false, name }: Way): boolean => promised || /^(proxy|tee|copyFile|sendFile)/.test(name);
/** Over what stays its user's, who may not destroy it; nor is there an end to what is kept from ending. It begins a turn before. */
const isLent = ({ name }: Way): boolean => / over a (number|FileHandle)/.test(name);

/** A call has no events; and what a peer does comes at another byte in each run, unless all stands still. */
function momentsOf(way: Way, action: Action): readonly string[] {
  if (isLent(way) && (isOf(action, 'source', 'destination', 'both') || /readable|encode/.test(action.do))) return [];
  if (action.do === 'abort' && way.twin === 'fs.copyFile') return []; // which has no signal
  if (isPeers(action)) return ['stalled'];
  const moments = ['stalled', 'diagnostics', ...(isLent(way) ? [] : ['begun'])];
  if (isCall(way)) return moments;
  // How much is out when the destination is destroyed behind the last of it is nobody's promise.
  const isLate = isOf(action, 'destination', 'both') || action.do === 'unpipe for a turn';
  return [...moments, 'source open', ...(isLate ? [] : ['source end']), 'destination pipe', 'destination open'];
}

const every: readonly WayProgram[] = twinned.flatMap((way) =>
  everyAction.flatMap((what) =>
    [...new Set(momentsOf(way, what))].map((when) => ({ way: way.name, steps: [{ when, what }] })),
  ),
);

export const ways: Family<WayProgram> = { name: 'ways', programs: fc.constantFrom(...every), every, run, reconcile };
