/**
 * The catalogue of the ways bytes go. A way has a name, says how it is set up on a {@link Stage}, and what can be taken
 * away from under it. What disturbs it - faults, thefts, sandboxes, children - is a loop of its own over the catalogue.
 */
import type { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import type { FeatureName } from '@zerocopy/core-syscalls';
import type { Background } from '../faults/injection.js';
import { Stage } from './stage.js';
import type { Side } from './twins.js';
import type { Wire } from './wire.js';

export interface Setting {
  /** A directory of this run's own, empty at first. */
  readonly directory: string;
  /** What is to arrive. */
  readonly content: Buffer;
  readonly signal?: AbortSignal | undefined;
  /** Called from within the transfer; what it throws is thrown there. */
  readonly hooks?: Hooks | undefined;
  /** Given to the packages instead of the way's own options: what somebody else has made up. */
  readonly bag?: { readonly options: unknown } | undefined;
  /** Given to the packages besides the way's own options; what one does not know it ignores. */
  readonly more?: object | undefined;
  /** Bytes that the sockets of a proxy have waiting before it begins, in the kernel; default: 0. */
  readonly backlog?: number | undefined;
  /** Who moves the bytes; default: ours, the packages. */
  readonly side?: Side | undefined;
  /** Told of each stream that is joined, and of who is beyond, as soon as it is there. */
  readonly onPlayer?: ((role: keyof Players, stream: Readable | Writable) => void) | undefined;
  /** What connections go over; default: nothing, their ends are joined directly. */
  readonly wire?: Wire | undefined;
}

/** Two streams that are joined, as far as they are streams, and who is beyond them: what other code may do something to. */
export interface Players {
  readonly source?: Readable;
  readonly destination?: Writable;
  readonly sender?: Socket;
  readonly peer?: Socket;
}

export interface Hooks {
  /** By the functions that report their progress. */
  onProgress(): void;
  /** By the streams' events. */
  onEvent(): void;
}

/** What the API told of one destination. */
export interface Told {
  /** Why it failed; undefined: it said that all went well. */
  readonly error?: NodeJS.ErrnoException | undefined;
  /** Bytes that it says have left: with a failure, too. Undefined: it counts none, and what has arrived is taken. */
  readonly bytes?: number | undefined;
  readonly method?: string | undefined;
  /** Why it was copied. */
  readonly fallbackReason?: string | undefined;
  /** Why fewer bytes than have left may have arrived, where the kernel throws away what is on its way; never more may. */
  readonly mayLose?: string | undefined;
  /** Why more bytes may have arrived than are told, where Node does not count them; never fewer may. */
  readonly mayGain?: string | undefined;
}

/** Of one destination. */
export interface Delivery extends Told {
  readonly bytes: number;
  /** What the destination has got, once it is over. */
  readonly received: Buffer;
  /** What was to arrive here, if it is not the setting's content. */
  readonly expected?: Buffer | undefined;
}

/** A transfer under way. */
export interface Underway {
  /** Never rejects. One for each destination, in the order in which the stage was asked for them. */
  readonly over: Promise<readonly Told[]>;
  /** Whether bytes have begun to move; default: whether some have arrived. */
  readonly moving?: (() => boolean) | undefined;
}

export interface Way {
  readonly name: string;
  /** What has to be different about the system for it to go the way its name says. */
  readonly background?: Background;
  /** Features without which there is nothing to be shown; see {@link whyNot}. */
  readonly needs?: readonly FeatureName[];
  /** What of Node's own it stands for: begun on a stage of Node's side, it goes by that. Undefined: Node has nothing of the kind. */
  readonly twin?: string | undefined;
  /** Which of the things that the stage knows can be taken away in the middle, each a theft of its own. */
  readonly victims?: readonly string[];
  /** Whether its end is that of a promise, which has to come whatever happens; a stream may wait for its user. */
  readonly promised?: boolean;
  /** Whether its bytes go through user space, however much the kernel can; all others are moved by it. */
  readonly copied?: boolean;
  begin(stage: Stage): Promise<Underway>;
}

/** The way undisturbed, from its beginning to when everything it has opened is closed. */
export async function run(way: Way, setting: Setting): Promise<readonly Delivery[]> {
  const stage = new Stage(setting);
  try {
    const { over } = await way.begin(stage);
    return await stage.deliveries(await over);
  } finally {
    await stage.dispose();
  }
}

/** What became of an upload or a response of which nobody heard, since it was to come on a connection that has gone. */
export const GONE: NodeJS.ErrnoException = Object.assign(
  new Error('the connection has gone, and what was to come by it'),
  { code: 'ECONNRESET' },
);

/** What a promise of the API resolves with, as far as it is looked at. */
type Counted = Required<Pick<Told, 'bytes'>> & Told;

/** What a promise of the API told. What could not be opened fails with Node's own error, and nothing has moved. */
export async function told(transfer: Promise<Counted>): Promise<Told> {
  try {
    const { bytes, method, fallbackReason } = await transfer;
    return { bytes, method, fallbackReason };
  } catch (failure) {
    const error = failure as NodeJS.ErrnoException & { readonly bytes?: number };
    return { error, bytes: error.bytes ?? 0 };
  }
}

/** The same for a single destination. */
export const one = (transfer: Promise<Counted>): Promise<readonly Told[]> => told(transfer).then((only) => [only]);

/** A way that has begun. */
export interface Begun {
  readonly stage: Stage;
  readonly over: Promise<readonly Told[]>;
  /** Undefined as long as it is under way. */
  told(): readonly Told[] | undefined;
  /** Whether bytes have begun to move, or it is over. */
  moving(): boolean;
}

/** Begins a way. @param held as of {@link Stage}. */
export async function begin(way: Way, setting: Setting, held: boolean): Promise<Begun> {
  const stage = new Stage(setting, held);
  try {
    const { over, moving } = await way.begin(stage);
    let told: readonly Told[] | undefined;
    over.then(
      (all) => {
        told = all;
      },
      () => {
        told = [];
      },
    );
    return { stage, over, told: () => told, moving: () => told !== undefined || stage.moving() || moving?.() === true };
  } catch (error) {
    await stage.dispose();
    throw error;
  }
}

/** What is wrong with bytes that may be the beginning of what is expected, or undefined. */
export const disorderIn = (bytes: Buffer, expected: Buffer): string | undefined =>
  bytes.equals(expected.subarray(0, bytes.length)) ? undefined : 'what has arrived is no beginning of what was sent';

/** What is wrong with how one delivery ended, or undefined. */
export function complaintOf(delivery: Delivery, whole: Buffer): string | undefined {
  const { received, error, bytes, expected: content = whole, mayLose, mayGain } = delivery;
  if (error === undefined) {
    if (!received.equals(content)) return `success was told, and ${received.length} bytes arrived, or wrong ones`;
    return bytes === content.length ? undefined : `success was told with ${bytes} of ${content.length} bytes`;
  }
  if (typeof error.code !== 'string' || error.message === '') return `an error that is not clear: ${error}`;
  const disorder = disorderIn(received, content);
  if (disorder !== undefined) return disorder;
  if (mayLose !== undefined && received.length < bytes) return undefined;
  if (mayGain !== undefined && received.length > bytes) return undefined;
  if (bytes !== received.length) return `${error.code} told ${bytes} bytes, and ${received.length} arrived`;
  return undefined;
}
