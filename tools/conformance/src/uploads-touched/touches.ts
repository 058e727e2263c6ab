/** What other code may do to the connection of an upload, or to the upload, while its bytes go below the parser. */

import type { IncomingMessage } from 'node:http';
import { PassThrough } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { resetConnection } from '@zerocopy/testing/sockets';

/** What a touch may use. */
export interface Touched {
  readonly request: IncomingMessage;
  /** Gets what is heard of the connection: none of it may be invented. */
  readonly hear: (chunk: Buffer) => void;
}

/** Does something, and undoes it, where Node's own upload would wait for that. */
export type Touch = (touched: Touched) => unknown;

/**
 * Whether the bytes go below the parser now. Node itself may read no more of a body whose connection gets a listener while
 * it is stopped by its own back-pressure: that is done to taken ones only.
 */
const isTaken = ({ request }: Touched): boolean => Object.hasOwn(request.socket, '_read') && request.push !== undefined;

export const touches: Readonly<Record<string, Touch>> = {
  resume: ({ request }) => request.socket.resume(),
  'pause and resume': ({ request }) => request.socket.pause().resume(),
  async 'pause, and resume in a later turn'({ request }) {
    request.socket.pause();
    await new Promise((resolve) => setImmediate(resolve));
    request.socket.resume();
  },
  async 'pause, and resume later'({ request }) {
    request.socket.pause();
    await pause(3);
    request.socket.resume();
  },
  'read(0)': ({ request }) => request.socket.read(0),
  read: ({ request }) => request.socket.read(),
  "a 'data' listener": (touched) => isTaken(touched) && touched.request.socket.on('data', touched.hear),
  "a 'data' listener, once": (touched) => isTaken(touched) && touched.request.socket.once('data', touched.hear),
  'a pipe': (touched) =>
    isTaken(touched) && touched.request.socket.pipe(new PassThrough(), { end: false }).on('data', touched.hear),
  setTimeout: ({ request }) => request.socket.setTimeout(60_000),
  'unref and ref': ({ request }) => request.socket.unref().ref(),
  'cork and uncork': ({ request }) => {
    request.socket.cork();
    process.nextTick(() => request.socket.uncork());
  },
  'the request paused and resumed': ({ request }) => request.pause().resume(),
  async 'the request paused, and resumed later'({ request }) {
    request.pause();
    await pause(1);
    request.resume();
  },
  'the request destroyed': ({ request }) => request.destroy(),
  'the connection destroyed': ({ request }) => request.socket.destroy(),
  'the connection reset': ({ request }) => resetConnection(request.socket),
};
