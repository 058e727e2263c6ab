/** `stream.pipeline`, and the pairs in it looked at. */

import fs from 'node:fs';
import { Socket } from 'node:net';
import type * as Stream from 'node:stream';
import stream, { type Readable, type Writable } from 'node:stream';
import type * as StreamPromises from 'node:stream/promises';
import streamPromises from 'node:stream/promises';
import { promisify } from 'node:util';
import { isOutgoingMessage } from '@zerocopy/transfer';
import { canMove } from './feature.js';
import { isObserved } from './hook.js';
import { IS_KNOWN_NODE, joinPair } from './joined-pair.js';
import { lookAt } from './observer.js';

// As they are when this module is loaded: a program may put ours in their place.
const { pipeline: nodePipeline } = stream;
const { pipeline: nodePromisedPipeline } = streamPromises;

type Callback = (error?: Error | null, value?: unknown) => void;

/**
 * Whether the two are what {@link joinPair} is for: whole streams of Node's own kinds, at their beginning. A request that is
 * sent, and a message that is received, end in ways of their own: Node's pipeline knows them.
 */
function isPlainPair(source: unknown, destination: unknown): boolean {
  if (!IS_KNOWN_NODE) return false;
  const isSource = source instanceof fs.ReadStream || source instanceof Socket;
  if (!isSource || source.destroyed || source.closed || source.errored) return false;
  const isRequest = typeof (destination as { abort?: unknown } | null)?.abort === 'function';
  const isDestination =
    destination instanceof fs.WriteStream ||
    destination instanceof Socket ||
    (!isRequest && isOutgoingMessage(destination));
  if (!isDestination) return false;
  const { destroyed, closed, errored, writableEnded } = destination as Writable;
  // Last: it loads what asks the kernel.
  if (!canMove()) return false;
  return !destroyed && !closed && !errored && !writableEnded && (destination as unknown) !== source;
}

const isStream = (thing: unknown): thing is Readable & Writable =>
  typeof thing === 'object' && thing !== null && typeof (thing as { pipe?: unknown }).pipe === 'function';

/** Looks at the pairs that Node has piped, where no hook has seen them. */
function lookAtAll(streams: readonly unknown[]): void {
  if (isObserved()) return;
  for (const [index, source] of streams.entries()) {
    const destination = streams[index + 1];
    if (isStream(source) && typeof (destination as { write?: unknown } | undefined)?.write === 'function')
      lookAt(source, destination as Writable);
  }
}

const unwrapped = (streams: readonly unknown[]): readonly unknown[] =>
  streams.length === 1 && Array.isArray(streams[0]) ? (streams[0] as unknown[]) : streams;

function pipelineImpl(...args: unknown[]): unknown {
  const callback = args.at(-1);
  const streams = unwrapped(args.slice(0, -1));
  const [source, destination] = streams;
  if (typeof callback === 'function' && streams.length === 2 && isPlainPair(source, destination)) {
    joinPair(source as Readable, destination as Writable, callback as Callback);
    lookAtAll(streams);
    return destination;
  }
  const result: unknown = Reflect.apply(nodePipeline, stream, args);
  lookAtAll(streams);
  return result;
}

function promisedPipeline(...args: unknown[]): Promise<unknown> {
  const [source, destination] = args;
  if (args.length === 2 && isPlainPair(source, destination)) {
    return new Promise((resolve, reject) => {
      joinPair(source as Readable, destination as Writable, (error, value) => {
        if (error) reject(error);
        else resolve(value);
      });
      lookAtAll(args);
    });
  }
  const result: Promise<unknown> = Reflect.apply(nodePromisedPipeline, streamPromises, args);
  lookAtAll(args);
  return result;
}

Object.defineProperty(pipelineImpl, 'name', { value: 'pipeline' });
Object.defineProperty(promisedPipeline, 'name', { value: 'pipeline' });
Object.defineProperty(pipelineImpl, promisify.custom, { enumerable: true, get: () => promisedPipeline });

/**
 * The contract, the errors and the forms of `stream.pipeline`: callback, `util.promisify`, an array, generators, web streams.
 * A pair that the kernel can move goes beneath; and one pair of plain streams costs no more than its `pipe`.
 * @see https://nodejs.org/api/stream.html#streampipelinesource-transforms-destination-callback
 */
export const pipeline: typeof Stream.pipeline = pipelineImpl as typeof Stream.pipeline;

/**
 * The same as a promise, with Node's options `signal` and `end` as the last argument.
 * @see https://nodejs.org/api/stream.html#streampipelinesource-transforms-destination-options
 */
export const pipelinePromise: typeof StreamPromises.pipeline = promisedPipeline as typeof StreamPromises.pipeline;
