/** One run of one case, with the hook or without. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { type Action, isHarmless, Scene } from '../actions.js';
import { content, difference, separate } from '../differential/bytes.js';
import { DIAGNOSTICS, onTransferStart } from '../differential/cast.js';
import type { DestinationName, SourceName, Stage, Stages } from './stage.js';

export interface Case {
  readonly from: SourceName;
  readonly to: DestinationName;
  /** Bytes. */
  readonly size: number;
  /** A message announces its length. */
  readonly isLengthTold: boolean;
  readonly act: Action;
  /** 'at once', 'tick' or 'turn'; as a subscriber of diagnostics_channel; or as soon as so many bytes have arrived. */
  readonly moment: 'at once' | 'tick' | 'turn' | typeof DIAGNOSTICS | number;
  /** By pipe, also to what is process.stdout, or by stream.pipeline. */
  readonly join: 'pipe' | 'pipe to stdout' | 'pipeline';
}

/** What came of it: everything that Node's own does not leave to chance. */
export interface Outcome {
  readonly source: readonly string[];
  readonly destination: readonly string[];
  readonly isWhole: boolean;
  /** What is wrong by itself, whatever Node does. */
  readonly complaints: readonly string[];
}

/** The first time; a machine that is busy may need longer. */
const QUIET = 60;
const PATIENCE = 8000;

const codeOf = ({ code, message }: NodeJS.ErrnoException): string =>
  code === undefined ? message : ['EPIPE', 'ECONNRESET'].includes(code) ? 'connection' : code;

class Disturbed extends Scene {
  /** What somebody else got, from some byte on. */
  readonly also: Buffer[] = [];

  constructor({ source, destination, feeder, receiver }: Stage, ends: boolean) {
    super();
    Object.assign(this, { source, destination, peer: receiver, sender: feeder, ends });
  }

  protected override hear(chunk: Buffer): void {
    this.also.push(Buffer.from(chunk));
  }

  protected override later(undo: () => void): void {
    setTimeout(undo, 2);
  }
}

const runs = new AsyncLocalStorage<Scene>();

/** @param silence milliseconds without any change after which nothing more is expected. */
export async function run(
  stages: Stages,
  tried: Case,
  pipe: (stage: Stage, signal: AbortSignal) => void,
  silence: number = QUIET,
): Promise<Outcome> {
  const bytes = content(0, tried.size);
  const stage = await stages.make(tried.from, tried.to, bytes, tried.isLengthTold);
  const { source, destination } = stage;
  const heard = { source: [] as string[], destination: [] as string[] };
  for (const event of ['end', 'close', 'aborted']) source.on(event, () => heard.source.push(event));
  for (const event of ['finish', 'close']) destination.on(event, () => heard.destination.push(event));
  source.on('error', (error) => heard.source.push(`error ${codeOf(error)}`));
  destination.on('error', (error) => heard.destination.push(`error ${codeOf(error)}`));
  const scene = new Disturbed(stage, tried.join !== 'pipe to stdout');
  let isDue = tried.moment === DIAGNOSTICS;
  const unsubscribe = onTransferStart(() => {
    if (!isDue || runs.getStore() !== scene) return;
    isDue = false;
    scene.perform(tried.act);
  });
  runs.run(scene, pipe, stage, scene.controller.signal);
  stage.feed();
  await acted(tried, stage, scene);
  await quiet(stage, () => heard.source.length + heard.destination.length, silence);
  unsubscribe();
  const isDecoded = tried.act.do === 'encode';
  const received = separate(stage.received()).file;
  const complaints = [
    ...(isDecoded || received.equals(bytes.subarray(0, received.length)) ? [] : [difference(received, bytes)]),
    ...(isDecoded ? [] : wrongPart(Buffer.concat(scene.also), bytes)),
    ...leftOver(tried, stage),
  ];
  const isWhole = !isDecoded && received.length === bytes.length;
  if (isHarmless(tried.act) && !isWhole) complaints.push(`${received.length} of ${bytes.length} bytes have arrived`);
  const outcome = { source: [...heard.source], destination: [...heard.destination], isWhole, complaints };
  stage.close(); // which is heard as well
  return outcome;
}

async function acted({ act, moment }: Case, stage: Stage, scene: Scene): Promise<void> {
  const perform = (): void => scene.perform(act);
  if (moment === DIAGNOSTICS) return;
  if (moment === 'at once') perform();
  else if (moment === 'tick') process.nextTick(perform);
  else if (moment === 'turn') setImmediate(perform);
  else {
    const deadline = performance.now() + 200;
    while (stage.arrived() < moment && performance.now() < deadline)
      await new Promise((resolve) => setImmediate(resolve));
    perform();
  }
}

/** Waits until both have closed, or nothing has changed for a while. */
async function quiet({ source, destination, arrived }: Stage, events: () => number, silence: number): Promise<void> {
  const deadline = performance.now() + PATIENCE;
  let before = '';
  let since = performance.now();
  while (performance.now() < deadline) {
    await delay(2);
    const now = `${events()} ${arrived()}`;
    if (now !== before) {
      before = now;
      since = performance.now();
    }
    const closed = source.closed && destination.closed;
    if (performance.now() - since > (closed ? 4 : silence)) return;
  }
}

/** Whoever listens later gets all from some byte on. */
function wrongPart(also: Buffer, bytes: Buffer): string[] {
  if (also.length === 0 || bytes.indexOf(also) >= 0) return [];
  return [`what somebody else got, ${also.length} bytes, is no part of it`];
}

/** What a route has put on the streams, and not taken away. */
function leftOver({ from, to }: Case, { source, destination }: Stage): string[] {
  if (!source.closed || !destination.closed) return [];
  const of = (stream: object, names: readonly string[]): string[] =>
    names.filter((name) => Object.hasOwn(stream, name));
  const left = of(
    source,
    from === 'socket' ? ['_read', 'setEncoding', 'unshift'] : ['_read', '_destroy', 'push', 'setEncoding'],
  );
  if (to === 'file') left.push(...of(destination, ['_write', '_writev', '_destroy', 'write', 'end', 'cork']));
  return left.length === 0 ? [] : [`left on the streams: ${left}`];
}
