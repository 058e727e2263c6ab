/** What can be at either end of a pipe, told by a look at the streams that loads nothing and asks nobody. */

/** A file that is read, what a socket or a pipe brings, or the body of an HTTP/1 message that is received. */
export type SourceKind = 'file' | 'socket' | 'body';

/** A file that is written, a socket or a pipe, an HTTP/1 message that is sent, or a redirected standard output. */
export type DestinationKind = 'file' | 'socket' | 'http' | 'stdio';

/** A pair of ends whose bytes can be moved beneath Node's pipe: by the kernel, or of a file into TLS by a copy that costs less. */
export type PipeKind =
  | 'file->http'
  | 'file->socket'
  | 'file->stdio'
  | 'file->file'
  | 'socket->socket'
  | 'socket->file'
  | 'body->http'
  | 'body->socket'
  | 'body->file';

/** All of them. */
export const PIPE_KINDS: readonly PipeKind[] = [
  'file->http',
  'file->socket',
  'file->stdio',
  'file->file',
  'socket->socket',
  'socket->file',
  'body->http',
  'body->socket',
  'body->file',
];

/** A pair that may be looked at, or why there is nothing to look at. */
export type Triage = { readonly kind: PipeKind } | { readonly refused: string };

const nameOf = (thing: object): string =>
  String((thing.constructor as { name?: unknown } | undefined)?.name ?? 'object');

/** Undefined: whatever it is, the kernel cannot read it. */
function sourceKindOf(source: object): SourceKind | undefined {
  if ('fallbackReason' in source) return undefined; // a stream of this project: it moves its bytes itself
  if ('httpVersionMajor' in source) return 'body';
  if (!('bytesRead' in source)) return undefined;
  if ('remoteAddress' in source) return 'socket';
  return 'fd' in source ? 'file' : undefined;
}

function destinationKindOf(destination: object): DestinationKind | undefined {
  if ('_header' in destination) return 'http';
  if ('remoteAddress' in destination) return 'socket';
  if ('_isStdio' in destination) return 'stdio';
  return 'bytesWritten' in destination && 'fd' in destination ? 'file' : undefined;
}

const isEncrypted = (stream: object): boolean => (stream as { encrypted?: unknown }).encrypted === true;

/** Undefined: the source is nothing that the kernel could read. Cheap: it is asked for every pipe of the process. */
export function triage(source: object, destination: object): Triage | undefined {
  const from = sourceKindOf(source);
  if (from === undefined) return undefined;
  const to = destinationKindOf(destination);
  if (to === undefined)
    return { refused: `the destination is no file, socket or HTTP/1 message but ${nameOf(destination)}` };
  if (isEncrypted(source)) return { refused: 'the source is encrypted (TLS)' };
  // A file is copied into it, for less than Node's own copying takes.
  if (isEncrypted(destination) && from !== 'file') return { refused: 'the destination is encrypted (TLS)' };
  const kind = `${from}->${to}` as PipeKind;
  return PIPE_KINDS.includes(kind) ? { kind } : { refused: `nothing is known to be gained for ${kind}` };
}
