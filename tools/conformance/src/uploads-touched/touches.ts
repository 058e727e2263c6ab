/** What other code may do to the connection of an upload, or to the upload, while its bytes go below the parser. */
import type { IncomingMessage } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { type Action, Scene } from '../actions.js';

/** What a touch may use. */
export interface Touched {
  readonly request: IncomingMessage;
  /** Gets what is heard of the connection: none of it may be invented. */
  readonly hear: (chunk: Buffer) => void;
}

/** Does something, and undoes it, where Node's own upload would wait for that. */
export type Touch = (touched: Touched) => unknown;

/** Of one of the two as the source: of the connection, also as a destination and as a peer. */
class TouchedScene extends Scene {
  readonly #onChunk: (chunk: Buffer) => void;

  constructor(stream: 'request' | 'connection', { request, hear }: Touched) {
    super();
    this.source = stream === 'request' ? request : request.socket;
    if (stream === 'connection') Object.assign(this, { destination: request.socket, peer: request.socket });
    this.#onChunk = hear;
  }

  protected override hear(chunk: Buffer): void {
    this.#onChunk(chunk);
  }
}

/**
 * Whether the bytes go below the parser now. Node itself may read no more of a body whose connection gets a listener while
 * it is stopped by its own back-pressure: that is done to taken ones only.
 */
const isTaken = ({ request }: Touched): boolean => Object.hasOwn(request.socket, '_read') && request.push !== undefined;

/** Those that leave Node's own upload going; what does not - to end, to encode, to unpipe for good - is no touch. */
const onConnection: readonly Action[] = [
  { do: 'destroy', of: 'source' },
  { do: 'destroy', of: 'source', error: true },
  { do: 'timeout', milliseconds: 60_000 },
  ...(['reset peer', 'resume source', 'pause for a turn', 'pause and resume', 'cork for a turn'] as const).map(
    (name): Action => ({ do: name }),
  ),
];
const onTaken = (['listen for data', 'listen for data, once', 'pipe elsewhere'] as const).map(
  (name): Action => ({ do: name }),
);
const onRequest: readonly Action[] = [
  { do: 'destroy', of: 'source' },
  { do: 'destroy', of: 'source', error: true },
  ...(['resume source', 'pause for a turn', 'pause and resume', 'unshift'] as const).map(
    (name): Action => ({ do: name }),
  ),
];

const named = (
  stream: 'request' | 'connection',
  actions: readonly Action[],
  may: (touched: Touched) => boolean = () => true,
): [string, Touch][] =>
  actions.map((action): [string, Touch] => [
    `${stream}: ${action.do}${'error' in action ? ' with an error' : ''}`,
    (touched) => may(touched) && new TouchedScene(stream, touched).perform(action),
  ]);

export const touches: Readonly<Record<string, Touch>> = {
  ...Object.fromEntries([
    ...named('connection', onConnection),
    ...named('connection', onTaken, isTaken),
    ...named('request', onRequest),
  ]),
  async 'connection: pause, and resume later'({ request }) {
    request.socket.pause();
    await pause(3);
    request.socket.resume();
  },
  'connection: read(0)': ({ request }) => request.socket.read(0),
  'connection: read': ({ request }) => request.socket.read(),
  'connection: unref and ref': ({ request }) => request.socket.unref().ref(),
  async 'request: pause, and resume later'({ request }) {
    request.pause();
    await pause(1);
    request.resume();
  },
};
