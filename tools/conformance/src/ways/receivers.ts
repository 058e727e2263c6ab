/** What keeps what arrives at a way's destinations: beyond sockets and pipes, in files, in answers to requests. */
import { readFileSync, statSync } from 'node:fs';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { type Readable, Writable } from 'node:stream';
import { withResolvers } from '@zerocopy/testing/sockets';
import { turn } from '@zerocopy/testing/waiting';
import { isResetUnread } from './kernel-objects.js';
import type { Delivery, Told } from './way.js';

/** Turns of the loop without a byte, after which a sender counts as having come to a halt. */
const HALTED_TURNS = 10;
/** {@link Told.mayLose} of a connection that is reset. */
export const RESET_LOSS = 'a reset discards what is on its way; it is how a cut-off is kept from looking whole';

/** How a destination is read: at once, or not before its sender has come to a halt. */
export interface Manner {
  readonly late?: boolean;
  /** Default: the setting's content. */
  readonly expected?: Buffer;
}

export interface Receiver {
  readonly expected?: Buffer | (() => Buffer) | undefined;
  /** Reads on, where it has been kept waiting. */
  goOn?(): void;
  /** Bytes, or chunks, so far. */
  arrived(): number;
  bytes(): Buffer;
  /** Whether its connection has been reset. */
  wasReset?(): boolean;
  /** Ends what has come from this side; resolves with all there is when that has arrived, or failed to. */
  finish(): Promise<Buffer>;
}

const NOTHING = Buffer.alloc(0);

async function halted(sent: () => number): Promise<void> {
  let before = -1;
  for (let still = 0; still < HALTED_TURNS; still++) {
    const now = sent();
    if (now !== before) still = 0;
    before = now;
    await turn();
  }
}

/** What has come of what is expected. As long as it is the same it is not kept. */
class Arrival {
  readonly #expected: Buffer;
  #same = 0;
  /** From the first chunk on that has something else. */
  readonly #rest: Buffer[] = [];

  constructor(expected: Buffer) {
    this.#expected = expected;
  }

  get length(): number {
    return this.#same + this.#rest.length;
  }

  readonly add = (chunk: Buffer): void => {
    const end = this.#same + chunk.length;
    if (this.#rest.length === 0 && chunk.equals(this.#expected.subarray(this.#same, end))) this.#same = end;
    else this.#rest.push(chunk);
  };

  bytes(): Buffer {
    const same = this.#expected.subarray(0, this.#same);
    return this.#rest.length === 0 ? same : Buffer.concat([same, ...this.#rest]);
  }
}

/** Resolves at the end of a stream, at its error or its closing, whichever comes first. */
function ended(stream: Readable): Promise<void> {
  return new Promise((resolve) => {
    if (stream.closed || stream.readableEnded) resolve();
    for (const event of ['end', 'error', 'close']) stream.once(event, () => resolve());
  });
}

/**
 * What arrives at `far`, which is not read before {@link Receiver.goOn}.
 * @param sent bytes that have left for it.
 * @param finish ends what has been sent on the near side.
 */
export function beyond(far: Readable, sent: () => number, finish: () => unknown, expected: Buffer): Receiver {
  const arrival = new Arrival(expected);
  const { promise: over, resolve } = withResolvers<void>();
  let going = false;
  let wasReset = false;
  far.once('error', (error: NodeJS.ErrnoException) => {
    wasReset = error.code === 'ECONNRESET';
  });
  far.once('end', () => {
    wasReset = far instanceof Socket && isResetUnread(far);
  });
  return {
    expected,
    goOn() {
      if (going) return;
      going = true;
      far.on('data', arrival.add);
      far.resume();
      void ended(far).then(resolve);
    },
    arrived: () => (going ? arrival.length : far.readableLength + sent()),
    wasReset: () => wasReset,
    bytes: () => arrival.bytes(),
    async finish() {
      finish();
      await over;
      return arrival.bytes();
    },
  };
}

/** A file that is written to; read by `read` once all is over, when its name may be gone. */
export function inFile(path: string, read: () => Buffer = () => readFileSync(path)): Receiver {
  const arrived = (): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  return { arrived, bytes: () => (arrived() === 0 ? NOTHING : read()), finish: async () => read() };
}

/** What is known when all is over. */
export const atLast = (finish: () => Promise<Buffer> | Buffer, expected?: Buffer | (() => Buffer)): Receiver => ({
  expected,
  arrived: () => 0,
  bytes: () => NOTHING,
  finish: async () => finish(),
});

/** The body that comes in answer to a request, as far as it comes; read when `goingOn` resolves. */
export function inAnswer(request: ClientRequest, goingOn: Promise<void> | undefined, expected: Buffer): Receiver {
  const arrival = new Arrival(expected);
  let response: IncomingMessage | undefined;
  const over = new Promise<void>((resolve) => {
    request.on('error', () => resolve());
    request.once('response', async (given: IncomingMessage) => {
      response = given;
      if (goingOn !== undefined) {
        response.on('error', () => {}).once('readable', () => {}); // so that some of it comes
        await goingOn;
      }
      response.on('data', arrival.add).resume();
      void ended(response).then(resolve);
    });
  });
  const finish = async (): Promise<Buffer> => {
    await over;
    return arrival.bytes();
  };
  return { ...atLast(finish, expected), arrived: () => arrival.length || (response?.readableLength ?? 0) };
}

/** A stream in user space that takes each chunk in a turn of its own. */
export function inSink(): Receiver & { readonly sink: Writable } {
  const chunks: Buffer[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _encoding, callback) {
      chunks.push(chunk);
      setImmediate(callback);
    },
  });
  return {
    sink,
    arrived: () => chunks.length,
    bytes: () => Buffer.concat(chunks),
    async finish() {
      if (!sink.destroyed) await new Promise<void>((resolve) => sink.end(resolve));
      return Buffer.concat(chunks);
    },
  };
}

/** All of a stage's, in the order of what the way tells of them. */
export class Receivers {
  readonly #all: Receiver[] = [];
  readonly #content: Buffer;
  /** Of a stage whose receivers wait: resolves when they do so no longer. */
  readonly goingOn: Promise<void> | undefined;
  readonly #goOn: () => void;

  constructor(content: Buffer, held: boolean) {
    const { promise, resolve } = withResolvers<void>();
    this.#content = content;
    this.goingOn = held ? promise : undefined;
    this.#goOn = resolve;
  }

  add(receiver: Receiver): void {
    this.#all.push(receiver);
  }

  /** Adds it, and lets it be read in its manner, if it is not kept waiting. */
  addStream(receiver: Receiver, sent: () => number, { late = false }: Manner): void {
    this.add(receiver);
    if (this.goingOn !== undefined) return;
    if (late) void halted(sent).then(() => receiver.goOn?.());
    else receiver.goOn?.();
  }

  goOn(): void {
    this.#goOn();
    for (const receiver of this.#all) receiver.goOn?.();
  }

  /** Bytes, or chunks, at all destinations. */
  arrived(): number {
    return this.#all.reduce((sum, receiver) => sum + receiver.arrived(), 0);
  }

  /** What has arrived so far, at each destination, with what was to. */
  soFar(): readonly { readonly bytes: Buffer; readonly expected: Buffer }[] {
    return this.#all.map((receiver) => ({
      bytes: receiver.bytes(),
      expected: this.#expectedAt(receiver) ?? this.#content,
    }));
  }

  async deliveries(told: readonly Told[]): Promise<readonly Delivery[]> {
    const received = await Promise.all(this.#all.slice(0, told.length).map((receiver) => receiver.finish()));
    return received.map((bytes, n) => {
      const receiver = this.#all[n] as Receiver;
      const expected = this.#expectedAt(receiver);
      const mayLose = told[n]?.mayLose ?? (receiver.wasReset?.() ? RESET_LOSS : undefined);
      return { ...told[n], bytes: told[n]?.bytes ?? bytes.length, received: bytes, expected, mayLose };
    });
  }

  #expectedAt({ expected }: Receiver): Buffer | undefined {
    return typeof expected === 'function' ? expected() : expected;
  }
}
