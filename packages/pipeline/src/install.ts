/** The hook by hand: which pipes of this thread are looked at, and from when to when. */
import type { Readable } from 'node:stream';
import { invalidArgument, readOptions, validateBytes, validateChoice, validateFunction } from '@zerocopy/transfer';
import { observePipes } from './hook.js';
import { observerOf } from './observer.js';
import { PIPE_KINDS, type PipeKind } from './pipe-kind.js';
import { DEFAULT_MIN_BYTES, type PipePlan } from './plan.js';

/** The options of {@link install}. */
export interface InstallOptions {
  /** The pairs of ends that are looked at; all others are Node's. Default: all. */
  kinds?: readonly PipeKind[];
  /**
   * Pipes that bring fewer bytes than this are left to Node, for each kind; into TLS fewer than 128 KiB in any case. Default:
   * 64 KiB from a file, 256 KiB from a body into a file, 1 MiB from a body elsewhere. A socket does not tell: it is taken when
   * much comes.
   */
  minBytes?: Partial<Record<PipeKind, number>>;
  /** Asked for each pair that could be taken, in the turn of its `pipe`: false leaves it to Node. */
  filter?(source: Readable, destination: NodeJS.WritableStream): boolean;
}

/**
 * Looks at all pipes that are made in this thread from now on, `stream.pipeline` included, and has the kernel move the bytes
 * of those it can. Pipes that exist are left as they are. Where several have been installed, also by other copies of
 * this package, the first decides of the kinds that it looks at.
 *
 * @returns what takes it away again: pipes that are made later are Node's. Idempotent.
 * @throws {TypeError} ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE. @throws {RangeError} ERR_OUT_OF_RANGE.
 */
export function install(options: InstallOptions = {}): () => void {
  const plan = planOf(options);
  return process.platform === 'linux' ? observePipes(observerOf(plan)) : () => {};
}

function planOf(given: InstallOptions): PipePlan {
  const {
    kinds = PIPE_KINDS,
    minBytes = {},
    filter,
  } = readOptions<InstallOptions>(given, ['kinds', 'minBytes', 'filter']);
  if (!Array.isArray(kinds)) throw invalidArgument('options.kinds', 'an array', kinds);
  validateFunction(filter, 'filter');
  const least = new Map<PipeKind, number>();
  for (const kind of kinds as readonly PipeKind[]) {
    validateChoice(kind, 'kinds', PIPE_KINDS);
    least.set(kind, DEFAULT_MIN_BYTES[kind]);
  }
  if (typeof minBytes !== 'object' || minBytes === null)
    throw invalidArgument('options.minBytes', 'an object', minBytes);
  for (const [kind, bytes] of Object.entries(minBytes)) {
    validateChoice(kind, 'minBytes', PIPE_KINDS);
    validateBytes(bytes, `minBytes['${kind}']`);
    if (bytes !== undefined && least.has(kind)) least.set(kind, bytes);
  }
  return { minBytes: least, filter };
}
