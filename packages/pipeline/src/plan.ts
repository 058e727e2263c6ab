/** Which pipes are looked at. */
import type { Readable } from 'node:stream';
import { PIPE_KINDS, type PipeKind } from './pipe-kind.js';

const KiB = 1024;
const MiB = 1024 * KiB;

/** Asked for a pair that could be taken: false leaves it to Node. */
export type PipeFilter = (source: Readable, destination: NodeJS.WritableStream) => boolean;

/** What is looked at, and from how many bytes on. */
export interface PipePlan {
  /** The kinds that are looked at, with the least bytes that are worth it. */
  readonly minBytes: ReadonlyMap<PipeKind, number>;
  readonly filter?: PipeFilter | undefined;
  /** A file that is still to be opened is opened at once, where that can be done without waiting. */
  readonly opensAtOnce?: boolean;
}

/** A socket does not tell how much it will bring: it is taken when much comes. */
export const DEFAULT_MIN_BYTES: Readonly<Record<PipeKind, number>> = {
  'file->http': 64 * KiB,
  'file->socket': 64 * KiB,
  'file->stdio': 64 * KiB,
  'file->file': 64 * KiB,
  'socket->socket': 0,
  'socket->file': 0,
  'body->http': MiB,
  'body->socket': MiB,
  'body->file': 256 * KiB,
};

/** Everything, from where it is worth it. */
export const DEFAULT_PLAN: PipePlan = { minBytes: new Map(PIPE_KINDS.map((kind) => [kind, DEFAULT_MIN_BYTES[kind]])) };

/**
 * For a program that has called `pipeline` of this package: small files as well. It does not rest on how soon Node is through
 * with them, as one may that has never heard of it.
 */
export const CALLED_PLAN: PipePlan = {
  minBytes: new Map([...DEFAULT_PLAN.minBytes, ['file->http', 1]]),
  opensAtOnce: true,
};
