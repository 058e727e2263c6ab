/**
 * All that other code can do to two streams that are joined, and to who is beyond them: one set for every area that
 * disturbs transfers (differential, hooked, uploads-touched).
 */
import fs from 'node:fs';
import type { ClientRequest } from 'node:http';
import type { Socket } from 'node:net';
import { PassThrough, type Readable, type Writable } from 'node:stream';
import { resetConnection } from '@zerocopy/testing/sockets';
import { marks } from './differential/bytes.js';

/** The peer is at the other end of a connection; the sender too, where there are two: it is behind the source. */
export type Role = 'source' | 'destination' | 'peer' | 'sender';

export type Action =
  | { readonly do: 'destroy'; readonly of: Role | 'both'; readonly error?: boolean | undefined }
  | { readonly do: 'end'; readonly of: 'destination' | 'peer' }
  | { readonly do: 'write'; readonly bytes: number }
  /** Of the file that is read. */
  | { readonly do: 'truncate'; readonly size: number }
  /** Of the destination, a socket. */
  | { readonly do: 'timeout'; readonly milliseconds: number }
  | { readonly do: 'encode'; readonly encoding: 'latin1' | 'hex' }
  | {
      readonly do:
        | 'abort'
        | 'reset peer'
        | 'reset sender'
        | 'resume peer'
        | 'listen for data'
        | 'listen for data, once'
        | 'listen for readable'
        | 'unpipe'
        /** And piped again in the next. */
        | 'unpipe for a turn'
        /** In one tick. */
        | 'pipe again'
        /** The source, to a second destination. */
        | 'pipe elsewhere'
        /** A second source, to the destination. */
        | 'pipe another'
        | 'pause source'
        | 'pause for a turn'
        | 'resume source'
        | 'pause and resume'
        | 'unshift'
        | 'cork'
        | 'uncork'
        | 'cork for a turn';
    };

/** Whether all bytes arrive nevertheless. */
const HARMLESS: ReadonlySet<Action['do']> = new Set<Action['do']>([
  ...(['write', 'listen for data', 'listen for data, once', 'pipe again', 'pipe elsewhere', 'pipe another'] as const),
  ...(['unpipe for a turn', 'pause for a turn', 'pause and resume', 'cork for a turn', 'unshift', 'timeout'] as const),
]);
export const isHarmless = (action: Action): boolean => HARMLESS.has(action.do);

export const isOf = (action: Action, ...roles: readonly string[]): boolean =>
  'of' in action && roles.includes(action.of);
/** Whether it is done by who is beyond the two. */
export const isPeers = (action: Action): boolean => action.do.startsWith('reset') || isOf(action, 'peer', 'sender');

/** All of them that a joined pair of any kind may meet, each once. */
export const everyAction: readonly Action[] = [
  ...(['source', 'destination', 'both', 'peer', 'sender'] as const).flatMap((of): Action[] => [
    { do: 'destroy', of },
    { do: 'destroy', of, error: true },
  ]),
  { do: 'end', of: 'destination' },
  { do: 'write', bytes: 1000 },
  { do: 'encode', encoding: 'hex' },
  ...(
    [
      'abort',
      'reset peer',
      'reset sender',
      'listen for data',
      'listen for data, once',
      'listen for readable',
      'unpipe',
      'unpipe for a turn',
      'pipe again',
      'pipe elsewhere',
      'pipe another',
      'pause source',
      'pause for a turn',
      'pause and resume',
      'resume source',
      'unshift',
      'cork',
      'uncork',
      'cork for a turn',
    ] as const
  ).map((name): Action => ({ do: name })),
];

/** Bytes that a second source brings. */
export const ANOTHER = 700;

export const failure = (): Error => Object.assign(new Error('by the program'), { code: 'E_PROGRAM' });

/** Two streams, and what has been done to them. */
export class Scene {
  readonly controller: AbortController = new AbortController();
  source: Readable | undefined;
  destination: Writable | undefined;
  peer: Socket | ClientRequest | undefined;
  sender: Socket | undefined;
  /** Of the file that is read, if it is the program's own. */
  path: string | undefined;
  /** Of the program's own writes, the bytes. */
  written: Buffer = Buffer.alloc(0);
  /** Whether a write came by an action: at which byte is nobody's promise. */
  moved = false;
  timed = false;
  /** Bytes that listeners of the program have heard. */
  heard: number | undefined;
  protected ends = true;
  readonly #another: PassThrough = new PassThrough();

  /** Whether a second source has been piped to the destination. */
  get joined(): boolean {
    return this.#another.writableEnded;
  }

  write(bytes: number): void {
    const { destination } = this;
    if (destination === undefined || destination.destroyed || destination.writableEnded) return;
    const chunk = marks(bytes, this.written.length);
    this.written = Buffer.concat([this.written, chunk]);
    destination.write(chunk);
  }

  perform(action: Action): void {
    const { source, destination, peer, sender } = this;
    switch (action.do) {
      case 'destroy':
        for (const of of action.of === 'both' ? (['destination', 'source'] as const) : [action.of]) {
          if (of === 'peer' || of === 'sender') this.asPeer(() => this[of]?.destroy());
          else this[of]?.destroy(action.error === true ? failure() : undefined);
        }
        break;
      case 'end':
        if (action.of === 'peer') this.asPeer(() => peer?.end());
        else this.attempt(() => destination?.end());
        break;
      case 'write':
        this.moved = true;
        this.write(action.bytes);
        break;
      case 'truncate':
        if (this.path !== undefined && fs.statSync(this.path).size > action.size)
          fs.truncateSync(this.path, action.size);
        break;
      case 'timeout':
        this.timed = true;
        (destination as Socket | undefined)?.setTimeout?.(action.milliseconds);
        break;
      case 'encode':
        source?.setEncoding(action.encoding);
        break;
      case 'abort':
        this.controller.abort();
        break;
      case 'reset peer':
        if (peer !== undefined)
          this.asPeer(() => resetConnection(('socket' in peer ? (peer.socket ?? peer) : peer) as Socket));
        break;
      case 'reset sender':
        this.asPeer(() => sender && resetConnection(sender));
        break;
      case 'resume peer':
        this.timed = false;
        this.resumePeer();
        break;
      case 'listen for data':
        this.heard ??= 0;
        source?.on('data', (chunk: Buffer) => this.hear(chunk));
        break;
      case 'listen for data, once':
        source?.once('data', (chunk: Buffer) => this.hear(chunk));
        break;
      case 'listen for readable':
        source?.on('readable', () => {});
        break;
      case 'unpipe':
        source?.unpipe(destination);
        break;
      case 'unpipe for a turn':
        if (!this.isPiped()) break;
        source?.unpipe(destination);
        this.later(() => source?.pipe(destination as Writable, { end: this.ends }));
        break;
      case 'pipe again':
        if (!this.isPiped()) break;
        source?.unpipe(destination);
        source?.pipe(destination as Writable, { end: this.ends });
        break;
      case 'pipe elsewhere':
        source?.pipe(new PassThrough().on('data', (chunk) => this.hear(chunk, false)));
        break;
      case 'pipe another':
        if (this.joined || destination === undefined) break;
        this.#another.end(marks(ANOTHER, 0));
        this.#another.pipe(destination, { end: false });
        break;
      case 'pause source':
        source?.pause();
        break;
      case 'pause for a turn':
        source?.pause();
        this.later(() => source?.resume());
        break;
      case 'pause and resume':
        source?.pause().resume();
        break;
      case 'resume source':
        source?.resume();
        break;
      case 'unshift':
        if (source !== undefined && !source.readableEnded && !source.destroyed) source.unshift(Buffer.alloc(0));
        break;
      case 'cork':
        destination?.cork();
        break;
      case 'uncork':
        this.attempt(() => destination?.uncork());
        break;
      case 'cork for a turn':
        destination?.cork();
        this.later(() => this.attempt(() => destination?.uncork()));
        break;
    }
  }

  /** @param directly by a listener of the source, and not at the end of a second pipe. */
  protected hear(chunk: Buffer, directly = true): void {
    if (directly) this.heard = (this.heard ?? 0) + chunk.length;
  }

  /** Whether the two have been joined by a pipe, which can be undone. */
  protected isPiped(): boolean {
    return this.source !== undefined && this.destination !== undefined;
  }

  /** Undoes what was done for a turn. */
  protected later(undo: () => void): void {
    setImmediate(undo);
  }

  /** It is a peer that does it. */
  protected asPeer(act: () => void): void {
    act();
  }

  protected resumePeer(): void {}

  /** What is held back of a stream that could not be opened is written to no descriptor, and that throws. */
  protected attempt(act: () => unknown): void {
    act();
  }
}
