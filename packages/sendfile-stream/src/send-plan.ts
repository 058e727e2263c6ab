/**
 * What is sent, decided once, for `sendFile` and for the stream alike: which bytes, whether they are promised, whether the
 * kernel can send them, and what becomes of the message afterwards.
 */
import type { BodyFraming } from '@zerocopy/transfer';
import type { Resolution, SocketDestination } from './destination.js';
import { feature } from './feature.js';
import { announce, bytesLeft, framingOfMessage } from './message-body.js';
import type { SourceFacts } from './source.js';
import { canReadWarm } from './warm-read.js';

/** What is asked for. */
export interface SendRequest {
  readonly facts: SourceFacts;
  /** Of the first byte; null: it is not known, since the descriptor has no position (a FIFO). */
  readonly position: number | null;
  /** Of the last byte, inclusive; Infinity: the file's. */
  readonly last: number;
  /** What it is sent into. */
  readonly stream: unknown;
  /** What that is to the kernel; undefined: a descriptor. */
  readonly resolved: Resolution | undefined;
  /** Whether the message ends afterwards; undefined: if the file is all of its body. */
  readonly ends: boolean | undefined;
  /** Up to this many bytes a warm file goes with the headers of an HTTP message. */
  readonly smallFileSize: number;
}

/** What is decided. */
export interface SendPlan {
  /** Null: where the descriptor's own position is. */
  readonly position: number | null;
  /** Bytes, at most; Infinity: to the end of a file whose size is not known. */
  readonly length: number;
  /** Fewer than `length` bytes are an error. */
  readonly promised: boolean;
  /** Why the kernel cannot send them, in words. */
  readonly refused: string | undefined;
  /** They are copied all the same in the order in which the kernel would have sent them: see SlotCopyEngine. */
  readonly queued: boolean;
  /** The message is ended afterwards. */
  readonly ends: boolean;
  /** It is ended afterwards as well if just so many bytes were sent: whether the file is all of its body shows only then. */
  readonly endsAfter: number | undefined;
  /** To be written with the headers, if they are in memory. */
  readonly small: boolean;
}

/** Nothing of the message has been sent and nothing else is promised: the file is all of its body. */
function isWholeBody(framing: BodyFraming, length: number): boolean {
  switch (framing.kind) {
    case 'undecided':
    case 'none':
      return true;
    case 'length':
      return framing.bytes === length;
    default:
      return false;
  }
}

/** Why the kernel cannot send it: first what is wrong with the destination, then with the file. */
function refusalOf({ facts, position, resolved }: SendRequest): string | undefined {
  if (resolved !== undefined && 'refused' in resolved) return resolved.refused;
  if (isCopied(resolved)) return resolved.copied;
  const sendfile = feature('sendfile');
  if (!sendfile.available) return sendfile.reason ?? 'sendfile is not available';
  if (!facts.sendable) return facts.reason;
  return position === null ? 'the position in the file is not known' : undefined;
}

/** Nothing has happened to the message when this returns. */
export function planSend(request: SendRequest): SendPlan {
  const { facts, position, last, stream, resolved, smallFileSize } = request;
  const refused = refusalOf(request);
  const framing = framingOfMessage(stream);
  const sized = facts.sendable && position !== null;
  // A file that cannot be sized, or is empty: its last byte is a bound and not a promise.
  const available = sized ? Math.min(facts.size, last + 1) - position : last + 1 - (position ?? 0);
  // More than a message has announced would be read as the next one.
  const length = Math.max(0, Math.min(available, bytesLeft(stream, framing)));
  const ends = framing !== undefined && (request.ends ?? isWholeBody(framing, sized ? length : Number.NaN));
  // The size of a file is not believed where it is 0, as of those in /proc: how long it is shows when it has been read.
  const endsAfter = !sized && request.ends === undefined && framing?.kind === 'length' ? framing.bytes : undefined;
  const empty = sized && length === 0 ? 'there is nothing to send' : undefined;
  const queued = isCopied(resolved) && sized && length > 0 && canReadWarm();
  const mayLeaveSmall = refused === undefined || queued;
  return {
    position,
    length,
    promised: sized,
    refused: refused ?? empty,
    queued,
    ends,
    endsAfter,
    small: mayLeaveSmall && sized && length > 0 && length <= smallFileSize && mayBeSmall(request, framing),
  };
}

const isCopied = (resolved: Resolution | undefined): resolved is SocketDestination & { readonly copied: string } =>
  resolved !== undefined && 'socket' in resolved && resolved.copied !== undefined;

/** Only an HTTP/1 message has headers to leave with; and one without a body drops what is written. */
function mayBeSmall({ resolved }: SendRequest, framing: BodyFraming | undefined): boolean {
  if (resolved === undefined || !('socket' in resolved)) return false;
  return framing !== undefined && framing.kind !== 'none';
}

/** Announces the length of what has been planned, which is to be the end of its message. */
export function announcePlan(stream: unknown, { promised, length }: SendPlan): void {
  if (promised) announce(stream, length);
}
