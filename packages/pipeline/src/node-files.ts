/** Whether a stream over a file reads and writes by Node's own functions, as they were when pipes began to be observed. */
import fs, { type ReadStream } from 'node:fs';

type Functions = Pick<typeof fs, 'read' | 'write' | 'writev'>;

let originals: Functions | undefined;

/** To be called before other code has had the time to replace any. Idempotent. */
export function keepOriginals(): Functions {
  const { read, write, writev } = fs;
  originals ??= { read, write, writev };
  return originals;
}

/** Node's own, or that of graceful-fs, which tries again and has Node's for its prototype. */
const isNodes = (current: unknown, own: (...args: never[]) => unknown): boolean =>
  current === own || (typeof current === 'function' && Object.getPrototypeOf(current) === own);

/** What Node keeps on its file streams under symbols that are not shared. */
function symbolOf(stream: object, name: string): symbol | undefined {
  return Object.getOwnPropertySymbols(stream).find(({ description }) => description === name);
}

/** The one by which it knows its functions: the same for all, and looked for once. */
let kFs: symbol | undefined;

function fsOf(stream: object): unknown {
  kFs ??= symbolOf(stream, 'kFs');
  return kFs === undefined ? undefined : (stream as Record<symbol, unknown>)[kFs];
}

/** node:fs, and what does the same. */
const nodesOwn = new Set<unknown>([fs]);

/**
 * Has a plain fs.ReadStream that Node is about to open, in the next tick, use `sharedFs`: functions that do what those of
 * node:fs do, and open and close a warm, local file without a hop of the thread pool.
 */
export function openBy(sharedFs: object, stream: ReadStream): void {
  const { fd, flags, open, _readableState } = stream as unknown as Record<string, unknown>;
  const { open: own } = fs.ReadStream.prototype as unknown as Record<string, unknown>;
  const isPlain = stream.constructor === fs.ReadStream && flags === 'r' && open === own && fd === null;
  if (!isPlain || (_readableState as { constructed?: unknown }).constructed !== false) return;
  if (fsOf(stream) !== fs) return;
  nodesOwn.add(sharedFs);
  (stream as unknown as Record<symbol, unknown>)[kFs as symbol] = sharedFs;
}

/** Whether the stream is over a FileHandle; or by node:fs, none of whose functions `functions` has been replaced. */
function usesNodesFs(stream: object, isIntact: () => boolean): boolean {
  if (nodesOwn.has(fsOf(stream))) return isIntact();
  return symbolOf(stream, 'kHandle') !== undefined;
}

/** Why what `stream`, an fs.ReadStream, reads may be something else than the kernel would, or undefined. */
export function refusalOfReaderFs(stream: object): string | undefined {
  const { read } = keepOriginals();
  return usesNodesFs(stream, () => isNodes(fs.read, read)) ? undefined : 'the source reads through an fs of its own';
}

/** Why what `stream`, an fs.WriteStream, writes may go elsewhere than the kernel would write it, or undefined. */
export function refusalOfWriterFs(stream: object): string | undefined {
  const { write, writev } = keepOriginals();
  return usesNodesFs(stream, () => isNodes(fs.write, write) && isNodes(fs.writev, writev))
    ? undefined
    : 'the destination writes through an fs of its own';
}
