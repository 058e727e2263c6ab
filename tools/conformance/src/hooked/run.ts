/** One run of one case, with the hook or without. */
import { setTimeout as delay } from 'node:timers/promises';
import { acts, MARK, type Witness } from './acts.js';
import { content, type DestinationName, type SourceName, type Stage, type Stages } from './stage.js';

export interface Case {
  readonly from: SourceName;
  readonly to: DestinationName;
  /** Bytes. */
  readonly size: number;
  /** A message announces its length. */
  readonly isLengthTold: boolean;
  readonly act: string;
  /** 'at once', 'tick' or 'turn'; or as soon as so many bytes have arrived. */
  readonly moment: 'at once' | 'tick' | 'turn' | number;
  /** By stream.pipeline, and not by pipe. */
  readonly isPipeline: boolean;
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

/** @param silence milliseconds without any change after which nothing more is expected. */
export async function run(
  stages: Stages,
  tried: Case,
  pipe: (stage: Stage) => void,
  silence: number = QUIET,
): Promise<Outcome> {
  const bytes = content(tried.size);
  const stage = await stages.make(tried.from, tried.to, bytes, tried.isLengthTold);
  const { source, destination } = stage;
  const heard = { source: [] as string[], destination: [] as string[] };
  for (const event of ['end', 'close', 'aborted']) source.on(event, () => heard.source.push(event));
  for (const event of ['finish', 'close']) destination.on(event, () => heard.destination.push(event));
  source.on('error', (error) => heard.source.push(`error ${codeOf(error)}`));
  destination.on('error', (error) => heard.destination.push(`error ${codeOf(error)}`));
  const witness: Witness = { also: [] };
  pipe(stage);
  stage.feed();
  await acted(tried, stage, witness);
  await quiet(stage, () => heard.source.length + heard.destination.length, silence);
  const received = stage.received();
  const complaints = [
    ...wrongBytes(received, bytes),
    ...wrongSuffix(Buffer.concat(witness.also), bytes),
    ...leftOver(tried, stage),
  ];
  const isWhole = without(received).length === bytes.length;
  const isHarmless = (acts[tried.act] as { isHarmless: boolean }).isHarmless;
  if (isHarmless && !isWhole) complaints.push(`${without(received).length} of ${bytes.length} bytes have arrived`);
  const outcome = { source: [...heard.source], destination: [...heard.destination], isWhole, complaints };
  stage.close(); // which is heard as well
  return outcome;
}

async function acted({ act, moment }: Case, stage: Stage, witness: Witness): Promise<void> {
  const perform = (): void => acts[act]?.do(stage, witness);
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

function without(received: Buffer): Buffer {
  const at = received.indexOf(MARK);
  return at < 0 ? received : Buffer.concat([received.subarray(0, at), received.subarray(at + MARK.length)]);
}

function wrongBytes(received: Buffer, bytes: Buffer): string[] {
  const own = without(received);
  if (own.equals(bytes.subarray(0, own.length))) return [];
  let at = 0;
  while (own[at] === bytes[at]) at++;
  return [`other bytes from ${at} of ${own.length} on`];
}

/** Whoever listens later gets all from some byte on. */
function wrongSuffix(also: Buffer, bytes: Buffer): string[] {
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
