/** Sockets, pipes and files joined by splice-pipe's promises: splice, proxy, tee. Its streams are in splice-streams.ts. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { TransferError, TransferResult } from '@zerocopy/core-syscalls';
import {
  type ProxyError,
  type ProxyResult,
  proxy,
  type SpliceOptions,
  splice,
  type TeeError,
  type TeeResult,
  tee,
} from '@zerocopy/splice-pipe';
import { makePipe, shrinkBuffer } from './kernel-objects.js';
import { arrival, goneForGood, type Kind, lateArrival, type Pair, withPair } from './peers.js';
import { spliceStreamTraffic } from './splice-streams.js';
import { listenerCount } from './stray-listeners.js';
import type { Delivery, Setting, Traffic } from './traffic.js';

/** `splice`, and what it told. Whatever it fails with knows a count. */
async function told(transfer: Promise<TransferResult>): Promise<Omit<Delivery, 'received'>> {
  try {
    const { bytes, method } = await transfer;
    return { bytes, method };
  } catch (error) {
    return { error: error as TransferError, bytes: (error as TransferError).bytes };
  }
}

const optionsOf = ({ signal }: Setting, others: SpliceOptions = {}): SpliceOptions =>
  signal === undefined ? others : { ...others, signal };

/** How the content comes to the source, and how the destination is read. */
interface Manner {
  /** Sends the content and the end. Default: all at once. */
  readonly feed?: (writer: Socket, content: Buffer, reader: Socket) => void;
  /** The destination is read when the transfer has come to a halt, not before, and buffers little. */
  readonly late?: boolean;
}

const allAtOnce = (writer: Socket, content: Buffer): void => {
  writer.end(content);
};

/** One after the other: the next is sent when the one before has arrived. */
const inMessages =
  (size: number) =>
  (writer: Socket, content: Buffer, reader: Socket): void => {
    let sent = 0;
    let arrived = 0;
    const next = (): void => {
      if (sent === content.length) writer.end();
      else writer.write(content.subarray(sent, sent + size));
      sent = Math.min(sent + size, content.length);
    };
    reader.on('data', (chunk: Buffer) => {
      arrived += chunk.length;
      if (arrived === sent && !writer.writableEnded) next();
    });
    next();
  };

/** A connection to be read from whose other end sends what is to be moved. */
type Sender = Pick<Pair, 'server' | 'client'>;

function begin(from: Sender, to: Pair, content: Buffer, { feed = allAtOnce, late = false }: Manner): Promise<Buffer> {
  if (late) shrinkBuffer(to.server);
  const received = late ? lateArrival(to.client, () => to.server.bytesWritten) : arrival(to.client);
  feed(from.client, content, to.client);
  return received;
}

const socketToSocket = (kind: Kind, name: string, manner: Manner = {}): Traffic => ({
  name: `splice from a ${kind} socket to a ${kind} socket${name}`,
  run: (setting) =>
    withPair(kind, (from) =>
      withPair(kind, async (to) => {
        const received = begin(from, to, setting.content, manner);
        const before = listenerCount(from.server, to.server);
        const result = await told(splice(from.server, to.server, optionsOf(setting)));
        before.check();
        to.server.end();
        return [{ ...result, received: await received }];
      }),
    ),
});

/** With a length: what follows stays in the source, and so does what has not arrived when the destination fails. */
const partOfSocket = (kind: Kind, late: boolean): Traffic => ({
  name: `splice with a length from a ${kind} socket${late ? ', read late' : ''}`,
  run: (setting) =>
    withPair(kind, (from) =>
      withPair(kind, async (to) => {
        const { content } = setting;
        const all = Buffer.concat([content, content.subarray(0, 100_000)]);
        const received = begin(from, to, all, { late });
        const before = listenerCount(from.server, to.server);
        const length = content.length;
        const result = await told(splice(from.server, to.server, optionsOf(setting, { length })));
        before.check();
        to.server.end();
        const deliveries = [{ ...result, received: await received }];
        if (from.server.destroyed) return deliveries; // with its own failure: then there is nothing to be had
        const rest = await arrival(from.server);
        return [...deliveries, { received: rest, bytes: rest.length, expected: all.subarray(result.bytes) }];
      }),
    ),
});

/** By its descriptor, opened synchronously: the traffic's own opening is not to be disturbed. */
async function withFile<T>(path: string, flags: string, use: (fd: number) => Promise<T>): Promise<T> {
  const fd = openSync(path, flags);
  try {
    return await use(fd);
  } finally {
    closeSync(fd);
  }
}

const socketToFile = (kind: Kind): Traffic => ({
  name: `splice from a ${kind} socket to a file`,
  run: (setting) =>
    withPair(kind, async (from) => {
      const target = join(setting.directory, 'target');
      from.client.end(setting.content);
      const before = listenerCount(from.server);
      const result = await withFile(target, 'w', (fd) => told(splice(from.server, fd, optionsOf(setting))));
      before.check();
      return [{ ...result, received: readFileSync(target) }];
    }),
});

const sourceFile = ({ directory, content }: Setting): string => {
  const path = join(directory, 'source');
  writeFileSync(path, content);
  return path;
};

const fileToSocket = (kind: Kind, late: boolean): Traffic => ({
  name: `splice from a file to a ${kind} socket${late ? ', read late' : ''}`,
  run: (setting) =>
    withPair(kind, async (to) => {
      if (late) shrinkBuffer(to.server);
      const received = late ? lateArrival(to.client, () => to.server.bytesWritten) : arrival(to.client);
      const before = listenerCount(to.server);
      const path = sourceFile(setting);
      const result = await withFile(path, 'r', (fd) => told(splice(fd, to.server, optionsOf(setting))));
      before.check();
      to.server.end();
      return [{ ...result, received: await received }];
    }),
});

const fileToFile: Traffic = {
  name: 'splice from a file to a file',
  async run(setting) {
    const target = join(setting.directory, 'target');
    const result = await withFile(sourceFile(setting), 'r', (from) =>
      withFile(target, 'w', (to) => told(splice(from, to, optionsOf(setting)))),
    );
    return [{ ...result, received: readFileSync(target) }];
  },
};

type PipeSource = 'descriptor' | 'stream';

/** Uses a pipe that brings the content, as its descriptor or as a stream of Node's over it. */
async function withPipe<T>(
  { content }: Setting,
  as: PipeSource,
  use: (source: number | Socket) => Promise<T>,
): Promise<T> {
  const { readFd, writer } = makePipe();
  writer.on('error', () => {}); // a reader that has failed
  writer.end(content);
  const source = as === 'descriptor' ? readFd : new Socket({ fd: readFd, readable: true, writable: false });
  if (source instanceof Socket) source.on('error', () => {});
  try {
    return await use(source);
  } finally {
    if (source instanceof Socket) await goneForGood(source);
    else closeSync(source);
    await goneForGood(writer);
  }
}

const pipeToSocket = (as: PipeSource, late: boolean): Traffic => ({
  name: `splice from a pipe's ${as} to a unix socket${late ? ', read late' : ''}`,
  run: (setting) =>
    withPipe(setting, as, (source) =>
      withPair('unix', async (to) => {
        const received = late ? lateArrival(to.client, () => to.server.bytesWritten) : arrival(to.client);
        const before = listenerCount(to.server, source);
        const result = await told(splice(source, to.server, optionsOf(setting)));
        before.check();
        to.server.end();
        return [{ ...result, received: await received }];
      }),
    ),
});

const pipeToFile = (as: PipeSource): Traffic => ({
  name: `splice from a pipe's ${as} to a file`,
  run: (setting) =>
    withPipe(setting, as, async (source) => {
      const target = join(setting.directory, 'target');
      const before = listenerCount(source);
      const result = await withFile(target, 'w', (fd) => told(splice(source, fd, optionsOf(setting))));
      before.check();
      return [{ ...result, received: readFileSync(target) }];
    }),
});

const childToSocket: Traffic = {
  name: "splice from a child process's output to a TCP socket",
  run: (setting) =>
    withPair('tcp', async (to) => {
      const fd = openSync(sourceFile(setting), 'r');
      const child = spawn('cat', { stdio: [fd, 'pipe', 'ignore'] });
      const exited = once(child, 'exit');
      closeSync(fd);
      const output = child.stdout as unknown as Readable;
      output.on('error', () => {});
      const received = arrival(to.client);
      const before = listenerCount(to.server, output);
      const result = await told(splice(output, to.server, optionsOf(setting)));
      before.check();
      to.server.end();
      const delivery = { ...result, received: await received };
      child.kill('SIGKILL');
      await exited;
      await goneForGood(child.stdout as unknown as Socket);
      return [delivery];
    }),
};

/** What comes back, so that bytes of one direction cannot pass for those of the other. */
const answerTo = (content: Buffer): Buffer => Buffer.from(content.map((byte) => byte ^ 0xff));

/** How the two sides talk through a proxy: both at once, or the one when the other has ended. */
type Talk = 'both at once' | 'the answer after the half-close' | 'in messages';

/** What is left of a failed proxy's connections on the way to a peer. */
function lossIn(kind: Kind, talk: Talk): string | undefined {
  if (kind === 'tcp') return 'a reset discards what is on its way; it is how a cut-off is kept from looking whole';
  if (talk !== 'the answer after the half-close') return 'a peer that is writing fails at that, and reads no more';
  return undefined;
}

async function proxied(a: Socket, b: Socket, { signal }: Setting): Promise<ProxyResult & { error?: ProxyError }> {
  try {
    return await proxy(a, b, signal === undefined ? {} : { signal });
  } catch (failure) {
    const error = failure as ProxyError;
    return { forward: error.forward, backward: error.backward, error };
  }
}

const throughProxy = (kind: Kind, talk: Talk, late: boolean): Traffic => ({
  name: `proxy between ${kind} sockets, ${talk}${late ? ', read late' : ''}`,
  run: (setting) =>
    withPair(kind, (left) =>
      withPair(kind, async (right) => {
        const { content } = setting;
        const answer = answerTo(content);
        const feed = talk === 'in messages' ? inMessages(4000) : allAtOnce;
        const forwards = begin(left, right, content, { feed, late });
        const backwards = late ? lateArrival(left.client, () => left.server.bytesWritten) : arrival(left.client);
        if (talk === 'the answer after the half-close') right.client.once('end', () => right.client.end(answer));
        else feed(right.client, answer, left.client);
        const { forward, backward, error } = await proxied(left.server, right.server, setting);
        const mayLose = error === undefined ? undefined : lossIn(kind, talk);
        return [
          { error, mayLose, bytes: forward.bytes, method: forward.method, received: await forwards },
          {
            error,
            mayLose,
            bytes: backward.bytes,
            method: backward.method,
            received: await backwards,
            expected: answer,
          },
        ];
      }),
    ),
});

type Teed = Pick<TeeResult, 'destinations'> & { readonly method?: string; readonly error?: TeeError };

async function teed(transfer: Promise<TeeResult>, destinations: number): Promise<Teed> {
  try {
    return await transfer;
  } catch (failure) {
    const error = failure as TeeError;
    const nothing = Array.from({ length: destinations }, () => ({ bytes: error.bytes }));
    return { destinations: error.destinations ?? nothing, error };
  }
}

/** @param received of each destination, in order. */
const branches = ({ destinations, method, error }: Teed, received: readonly Buffer[]): Delivery[] =>
  destinations.map((branch, n) => ({
    error: branch.error ?? error,
    bytes: branch.bytes,
    method,
    received: received[n] as Buffer,
  }));

const teeToSockets = (kind: Kind, late: boolean): Traffic => ({
  name: `tee to two ${kind} sockets${late ? ', one of them read late' : ''}`,
  run: (setting) =>
    withPair(kind, (from) =>
      withPair(kind, (one) =>
        withPair(kind, async (other) => {
          const received = [begin(from, one, setting.content, { late }), arrival(other.client)];
          const before = listenerCount(from.server, one.server, other.server);
          const result = await teed(tee(from.server, [one.server, other.server], optionsOf(setting)), 2);
          before.check();
          for (const { server } of [one, other]) server.end();
          return branches(result, await Promise.all(received));
        }),
      ),
    ),
});

const teeToFile: Traffic = {
  name: 'tee to a socket and a file',
  run: (setting) =>
    withPair('unix', (from) =>
      withPair('unix', async (to) => {
        const target = join(setting.directory, 'target');
        const received = begin(from, to, setting.content, {});
        const before = listenerCount(from.server, to.server);
        const result = await withFile(target, 'w', (file) =>
          teed(tee(from.server, [to.server, file], optionsOf(setting)), 2),
        );
        before.check();
        to.server.end();
        return branches(result, [await received, readFileSync(target)]);
      }),
    ),
};

export const spliceTraffic: readonly Traffic[] = [
  socketToSocket('tcp', ''),
  socketToSocket('unix', ''),
  socketToSocket('tcp', ', read late', { late: true }),
  socketToSocket('unix', ', read late', { late: true }),
  socketToSocket('tcp', ', in messages', { feed: inMessages(4000) }),
  socketToSocket('unix', ', in messages', { feed: inMessages(4000) }),
  partOfSocket('tcp', false),
  partOfSocket('unix', true),
  socketToFile('tcp'),
  socketToFile('unix'),
  fileToSocket('tcp', false),
  fileToSocket('unix', true),
  fileToFile,
  pipeToSocket('descriptor', false),
  pipeToSocket('stream', true),
  pipeToFile('descriptor'),
  pipeToFile('stream'),
  childToSocket,
  throughProxy('tcp', 'both at once', false),
  throughProxy('unix', 'both at once', false),
  throughProxy('unix', 'both at once', true),
  throughProxy('unix', 'the answer after the half-close', false),
  throughProxy('tcp', 'in messages', false),
  throughProxy('unix', 'in messages', false),
  teeToSockets('tcp', false),
  teeToSockets('unix', true),
  teeToFile,
  ...spliceStreamTraffic,
];
