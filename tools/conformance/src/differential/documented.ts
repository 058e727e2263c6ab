/**
 * Differences from Node's streams that are meant, and said in the packages' docstrings or READMEs. Each is a rule that
 * changes what is expected, as little as it can, and says why.
 */

import { isHarmless } from '../actions.js';
import type { Outcome } from './run.js';
import type { Steps } from './steps.js';

interface WithListeners {
  listeners?: Record<string, number> | undefined;
}

/**
 * Fewer listeners than Node leaves are no leftover. And one more for 'close' is allowed on a socket: core-syscalls'
 * write queue, put in front of a socket's own once for the socket's life, has a single one for all its turns.
 */
export function allowListeners(expected: WithListeners, actual: WithListeners): void {
  if (expected.listeners === undefined || actual.listeners === undefined) return;
  for (const [event, number] of Object.entries(actual.listeners)) {
    if (number < (expected.listeners[event] ?? 0)) expected.listeners[event] = number;
  }
  for (const event of Object.keys(expected.listeners)) {
    if (actual.listeners[event] === undefined) delete expected.listeners[event];
  }
  if (actual.listeners.close === (expected.listeners.close ?? 0) + 1) expected.listeners.close = actual.listeners.close;
}

interface WithErrored {
  errored?: string | false | null | undefined;
}

/**
 * Node's own write is under way when its owner destroys a socket, and is cancelled, which the socket keeps as its error
 * and tells nobody (since Node 22). Where the kernel sends there is no write.
 */
export function allowNoCancelledWrite(expected: WithErrored | undefined, actual: WithErrored | undefined): void {
  if (expected?.errored === 'ECANCELED' && actual?.errored === null) expected.errored = actual.errored;
}

/** The same of the pipeline that it ends, since Node 22: without a write there is only a stream that was closed too early. */
export function allowNoCancelledPipeline(expected: Outcome, actual: Outcome): void {
  const { pipeline } = actual.events;
  if (!pipeline?.includes('error ERR_STREAM_PREMATURE_CLOSE')) return;
  if (expected.events.pipeline?.includes('error ECANCELED')) expected.events.pipeline = pipeline;
}

/**
 * A socket that was destroyed with an error before. Since Node 24 a pipeline tells that it cannot be piped into, and not why;
 * sendFile rejects with that error on every Node, as a pipeline of Node 20 and 22 does.
 */
export function allowErrorOfDestroyed(expected: Outcome, actual: Outcome): void {
  const { transfer } = actual.events;
  const { destroyed, errored } = actual.destination ?? {};
  if (!destroyed || !errored || transfer?.[0] !== `error ${errored}`) return;
  if (expected.events.transfer?.[0] === 'error ERR_STREAM_UNABLE_TO_PIPE') expected.events.transfer = transfer;
}

/**
 * A corked response that has been given more than it likes to hold may never ask for more (in chunks, Node 22 in nearly all
 * cases, Node 20 after a write of its own), and what is piped into it waits for ever: a small file that goes with its
 * headers does not, and of a file that was open already the headers may be gone. Nothing that comes after can be compared.
 */
export function allowCorkedForEver(corked: readonly boolean[], expected: Outcome, actual: Outcome): void {
  const stuck = corked.findIndex((is, number) => is && expected.exchanges[number]?.ended === false);
  if (stuck >= 0) takeFrom(stuck, corked.length, expected, actual);
}

/**
 * Of a source that is unpiped before its file is open, Node has begun to read; ours reads when somebody wants to. That a
 * directory cannot be read (EISDIR) is found by reading only.
 */
export function allowUnreadDirectory(expected: Outcome, actual: Outcome): void {
  const events: string[] = expected.events.source ?? [];
  if (!events.includes('error EISDIR') || actual.events.source?.some((event: string) => event.startsWith('error')))
    return;
  const over = [actual.events.destination, actual.events.response].some((heard?: string[]) =>
    heard?.includes('unpipe'),
  );
  if (!over) return;
  expected.events.source = actual.events.source;
  expected.ended = actual.ended;
  if (actual.source !== undefined) expected.source = actual.source;
}

/**
 * A file that is in memory is opened without a thread, a turn of the loop before Node's. So what the program does at 'open'
 * comes before the closing of a response that it has destroyed meanwhile, and in Node after it: which of the two has the
 * last word differs, and nothing that comes after can be compared.
 */
export function allowOpenedSooner(steps: readonly Steps[], expected: Outcome, actual: Outcome): void {
  const raced = steps.findIndex((of) => {
    const opens = of.some(({ when }) => when === 'source open');
    return opens && of.some(({ when, what }) => when === 'same tick' && what.do === 'destroy' && what.of !== 'source');
  });
  if (raced >= 0) takeFrom(raced, steps.length, expected, actual);
}

/** Nothing from the exchange `first` on is compared. */
function takeFrom(first: number, count: number, expected: Outcome, actual: Outcome): void {
  for (let number = first; number < count; number++) expected.exchanges[number] = actual.exchanges[number];
  expected.connections = actual.connections;
}

/**
 * A second source ends, and is unpiped, when a destination that is full takes its bytes. Where the kernel moves those of
 * the first, Node's own queue is not full, and it ends at once.
 */
export function allowSecondSource(stopped: boolean, steps: Steps, expected: Outcome, actual: Outcome): void {
  if (!stopped || !steps.some(({ what }) => what.do === 'pipe another')) return;
  for (const { events } of [expected, actual]) {
    events.destination = events.destination?.filter((event: string) => event !== 'unpipe');
  }
}

/**
 * A small upload is collected in memory while its file is opened. Where that fails, Node's pipe has stopped the source at
 * the destination's highWaterMark, and ours may have read all of it, and have ended the destination.
 */
export function allowCollected(small: boolean, expected: Outcome, actual: Outcome): void {
  if (!small || !expected.destination.pending || !expected.destination.errored) return;
  for (const role of ['source', 'client']) expected.events[role] = actual.events[role];
  expected.source = actual.source;
  expected.ended = actual.ended;
  expected.destination.writableEnded = actual.destination.writableEnded;
}

/**
 * All of a small upload has come, and its file stream is destroyed, without an error, before the file is open: Node's pipeline
 * tells a success, and the file is empty. Ours tells that it was closed too early.
 */
export function allowNoTornSuccess(expected: Outcome, actual: Outcome): void {
  const { pipeline } = actual.events;
  const isTorn = expected.destination.destroyed && expected.file?.file !== 'all';
  if (!isTorn || !pipeline?.includes('error ERR_STREAM_PREMATURE_CLOSE')) return;
  if (expected.events.pipeline?.includes('done')) expected.events.pipeline = pipeline;
}

/**
 * What is in the queue of a file stream that could not be opened, and is not closed by itself, stays there. Node would write it
 * once it is uncorked or ended, to no descriptor, which throws a TypeError at whoever does that.
 */
export function allowHeldBack(expected: Outcome, actual: Outcome): void {
  if (!actual.destination.pending || !actual.destination.errored) return;
  const throws = (event: string): boolean => event === 'throws ERR_INVALID_ARG_TYPE';
  if (actual.events.destination?.some(throws)) return;
  expected.events.destination = expected.events.destination?.filter((event: string) => !throws(event));
}

/**
 * A file stream that a program corks, and does not uncork, asks for no more once it is full, and its pipe waits for ever. A
 * small upload is collected whole all the same, and the end of the stream uncorks it.
 */
export function allowCorkedCollected(small: boolean, steps: Steps, expected: Outcome, actual: Outcome): void {
  const isCorked = steps.some(({ what }) => what.do === 'cork');
  const isFurther = !expected.source.readableEnded && actual.source.readableEnded;
  if (small && isCorked && isFurther) Object.assign(expected, actual);
}

/** What a write or a read meets of a connection that has gone, or of a stream that has: of which of them it is told is chance. */
const GONE =
  /^error (ECONNRESET|ERR_STREAM_PREMATURE_CLOSE|ERR_STREAM_DESTROYED|ERR_STREAM_WRITE_AFTER_END|ERR_STREAM_UNABLE_TO_PIPE|ECANCELED)$/;

/** README of sendfile-stream and splice-pipe: their promises reject with ECONNRESET where a side has gone; pipeline by its own codes. */
export function allowConnectionGone(steps: Steps, expected: Outcome, actual: Outcome): void {
  // What its user destroys before a call has begun with it is only found closed.
  const isEarly = steps.some(({ when, what }) => when === 'begun' && what.do === 'destroy');
  const isGone = (event = ''): boolean => GONE.test(event) || (isEarly && event === 'error E_PROGRAM');
  for (const [who, events] of Object.entries<string[]>(actual.events)) {
    const other = expected.events[who]?.[0];
    if (who.startsWith('end ') && isGone(events[0]) && isGone(other)) expected.events[who] = events;
  }
}

/**
 * README of splice-pipe: what fails, or is aborted, stops at a byte that the error tells, and destroys nothing but a side that
 * failed by itself; pipeline destroys both. So of a failure only that it is one, and which, can be compared.
 */
export function allowLeftOpen(expected: Outcome, actual: Outcome, steps: Steps): void {
  // Where a listener stops the source of Node's pipe for ever, or the pipe is undone, there is no pipe here.
  const isUndone = steps.some(({ what }) => what.do === 'unpipe');
  if ((!expected.ended || (isUndone && expected.shares.includes('part'))) && actual.ended)
    Object.assign(expected, structuredClone(actual));
  const ends = ({ events }: Outcome): string[] => Object.keys(events).filter((who) => who.startsWith('end '));
  const failed = ends(expected).some((who) => expected.events[who]?.[0] !== 'done');
  // README of splice-pipe: a destination of tee that fails is dropped, and the others go on. Of pipes all have failed.
  const isTold = (who: string): boolean => actual.events[who]?.[0] !== 'done';
  if (failed && ends(actual).some(isTold))
    for (const who of ends(actual)) if (!isTold(who)) expected.events[who] = actual.events[who];
  for (const { events } of [expected, actual]) for (const role of ['source', 'destination']) delete events[role];
  expected.destination = actual.destination;
  if (failed && !steps.every(({ what }) => isHarmless(what))) {
    expected.shares = actual.shares;
    expected.own = actual.own;
  }
}

/**
 * README of sendfile-stream, "Order": what has been handed over keeps its place. A socket that ends by itself, since its peer
 * has ended, does so after the file; Node's pipe is undone when it has sent what it happens to have read.
 */
export function allowEndAfterFile(ends: boolean, expected: Outcome, actual: Outcome): void {
  if (ends && expected.received.file === 'part' && actual.received.file === 'all') Object.assign(expected, actual);
}

/**
 * The same of what ends the destination, or writes to it, while it stands still: all of the file has been promised its place
 * before. And of a socket's bytes that are still to come: Node's pipe waits for ever for a destination that has been ended, or is
 * undone; ours fails with what a write of them would fail with.
 */
export function allowWrittenAfterFile(steps: Steps, expected: Outcome, actual: Outcome): void {
  const isEnded = steps.some(({ what }) => what.do === 'end');
  const isRefused = actual.events['end 0']?.[0] === 'error ERR_STREAM_WRITE_AFTER_END';
  const isSooner = actual.shares[0] === 'all' && expected.shares[0] !== 'all';
  if (isEnded && (isSooner || (isRefused && !expected.ended))) Object.assign(expected, structuredClone(actual));
  if (isSooner && steps.some(({ what }) => what.do === 'write' || what.do === 'pipe another')) {
    expected.shares = actual.shares;
    expected.own = actual.own;
  }
}

/** As {@link allowCorkedForEver}: a stream that is corked when it is full asks for no more, and Node's pipe waits for ever. */
export function allowCorkedFull(steps: Steps, expected: Outcome, actual: Outcome): void {
  const isCorked = steps.some(({ what }) => what.do === 'cork');
  const isWhole = actual.ended && actual.shares.every((share: string) => share === 'all');
  if (isCorked && !expected.ended && isWhole) Object.assign(expected, structuredClone(actual));
}
