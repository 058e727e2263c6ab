/**
 * What a way is set up on: sources that bring the content, destinations that keep what arrives, and what can be taken
 * away from either. By Node's own streams and by calls of its own, which no fault disturbs.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, createWriteStream, openSync, readFileSync, writeFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type http from 'node:http';
import net, { Socket } from 'node:net';
import { join } from 'node:path';
import { Readable, type Writable } from 'node:stream';
import { descriptorOf } from '@zerocopy/core-syscalls';
import { addressOf, connectedPair, destroyed, type Kind } from '@zerocopy/testing/sockets';
import { until } from '@zerocopy/testing/waiting';
import { type Feeding, feedInMessages, write } from './feeds.js';
import { makeColdFile } from './files.js';
import { makePipe, makeSocketPair, shrinkBuffer, shrinkWindow, unreadBytes } from './kernel-objects.js';
import { atLast, beyond, inAnswer, inFile, inSink, type Manner, Receivers } from './receivers.js';
import { type Movers, movers, type Side } from './twins.js';
import type { Delivery, Hooks, Players, Setting, Told } from './way.js';
import { connectOver, pairOver, type Wire } from './wire.js';

/** What a TCP socket may buffer where receivers wait until they are told to go on, in bytes. */
const LITTLE = 128 * 1024;
export interface Near {
  readonly near: Socket;
  readonly far: Socket;
}

/** In the midst of a file, so that a range has something around it. */
export const AROUND: Buffer = Buffer.alloc(5000, 'not to be sent ');

export class Stage {
  readonly directory: string;
  readonly content: Buffer;
  readonly signal: AbortSignal | undefined;
  readonly side: Side;
  /** Somebody listens to its streams. */
  isWatched = false;
  readonly #onPlayer: Setting['onPlayer'];
  readonly #players = new Set<keyof Players>();
  readonly #hooks: Hooks | undefined;
  readonly #bag: Setting['bag'];
  readonly #more: object | undefined;
  /** Descriptors that the transfer uses: lent numbers, those of sockets it was given, those of streams and handles. */
  readonly fds: number[] = [];
  /** Of these the ones that are the user's, who may close them. */
  readonly #lent = new Set<number>();
  readonly #held: boolean;
  readonly #receivers: Receivers;
  readonly #wire: Wire | undefined;
  readonly #backlog: number;
  /** The far ends of all connections: the other sides' own. */
  readonly peers: Socket[] = [];
  readonly #feeds: (() => void)[] = [];
  readonly #takers = new Map<string, () => void>();
  readonly #disposals: (() => unknown)[] = [];
  #names = 0;

  /** @param held Receivers, and the second halves of what is sent, wait until {@link goOn}, and sockets buffer little. */
  constructor(setting: Setting, held = false) {
    const { directory, content, signal, hooks, bag, wire, more, onPlayer, side = 'ours', backlog = 0 } = setting;
    this.directory = directory;
    this.content = content;
    this.signal = signal;
    this.side = side;
    this.#onPlayer = onPlayer;
    this.#hooks = hooks;
    this.#bag = bag;
    this.#more = more;
    this.#wire = wire;
    this.#backlog = backlog;
    this.#held = held;
    this.#receivers = new Receivers(content, held);
  }

  /** Options for a package, with the setting's signal, and its hook; or what the setting has instead. */
  options<T extends object>(others: T): T & { signal?: AbortSignal; onProgress?: () => void } {
    if (this.#bag !== undefined) return this.#bag.options as T;
    const signal = this.forNode();
    return { ...others, ...this.#more, ...signal, ...(this.#hooks && { onProgress: this.#hooks.onProgress }) };
  }

  /** Options for Node's own pipeline. */
  forNode(): { signal?: AbortSignal } {
    return this.signal === undefined ? {} : { signal: this.signal };
  }

  /** What moves the bytes. */
  get by(): Movers {
    return movers[this.side];
  }

  /** It is one of those that are joined, or beyond them; the first of its kind, unless another stands for it. */
  play<Role extends keyof Players>(role: Role, stream: NonNullable<Players[Role]>, instead = false): void {
    if (this.#players.has(role) && !instead) return;
    this.#players.add(role);
    this.#onPlayer?.(role, stream);
  }

  /** Calls back when the stream makes progress; or when the source does, where both are Node's. */
  onProgressOf(stream: NodeJS.EventEmitter, source: NodeJS.EventEmitter, callback: () => void): void {
    if (this.side === 'ours') stream.on('progress', callback);
    else source.on('data', callback);
  }

  /** The setting's hook hears of a stream's progress. */
  heed(stream: NodeJS.EventEmitter, source: NodeJS.EventEmitter = stream): void {
    if (this.#hooks !== undefined) this.onProgressOf(stream, source, this.#hooks.onEvent);
  }

  onDispose(disposal: () => unknown): void {
    this.#disposals.push(disposal);
  }

  /** Where nothing is yet. */
  path(): string {
    return join(this.directory, `file-${this.#names++}`);
  }

  // What can be taken away.

  /** Something of this name can be taken away so. */
  victim(name: string, take: () => unknown): void {
    this.#takers.set(name, () => void take());
  }

  /** 'numbers': the lent ones are closed. 'everything': they, and whatever else can be taken. */
  take(name: string): void {
    if (name !== 'numbers' && name !== 'everything') this.#takers.get(name)?.();
    else {
      if (name === 'everything') for (const take of this.#takers.values()) take();
      for (const fd of this.#lent) closeSync(fd);
      this.#lent.clear();
    }
  }

  /** Adds the numbers of sockets to {@link fds}. */
  watch(...sockets: Socket[]): void {
    for (const socket of sockets) this.fds.push(descriptorOf(socket) as number);
  }

  #lend(fd: number): number {
    this.fds.push(fd);
    this.#lent.add(fd);
    return fd;
  }

  // Files.

  /** A file with the content. Cold: on the disk, and nowhere in memory. */
  file(temperature: 'warm' | 'cold' = 'warm', content: Buffer = this.content): string {
    const path = this.path();
    if (temperature === 'warm') writeFileSync(path, content);
    else makeColdFile(path, content);
    return path;
  }

  /** A number of the file for the way to use, and for its user to close. */
  lend(path: string, flags: string): number {
    return this.#lend(openSync(path, flags));
  }

  /**
   * A stream that reads or writes by a lent number, whenever it likes, for as long as it is not destroyed. In the end it is,
   * and closes the number then, whatever its autoClose says; but not one that has been taken from it.
   */
  lentTo(stream: Readable | Writable, fd: number): void {
    this.onDispose(() => {
      if (this.#lent.delete(fd)) return closing(stream);
      stream.on('error', () => {});
      if (stream instanceof Readable) stream.unpipe();
    });
  }

  async handle(path: string, flags: string): Promise<FileHandle> {
    const handle = await open(path, flags);
    this.fds.push(handle.fd);
    let closed: Promise<void> | undefined;
    const close = (): Promise<void> => {
      closed ??= handle.close();
      return closed;
    };
    this.victim(`handle ${flags}`, close);
    this.onDispose(close);
    return handle;
  }

  // Sockets and pipes.

  /** A connected pair, both ends of which are gone, with their errors, in the end. Over a wire all are of TCP. */
  async pair(kind: Kind = 'unix'): Promise<Near> {
    const options = { pauseOnConnect: this.#held || this.#backlog > 0 };
    const pair = this.#wire === undefined ? connectedPair(kind, options) : pairOver(this.#wire, options);
    const { server: near, client: far } = await pair;
    this.peers.push(far);
    for (const socket of [near, far]) {
      socket.on('error', () => {}); // told by the way
      this.onDispose(() => destroyed(socket));
      if (!this.#held) continue;
      socket.pause();
      if (kind === 'tcp' || this.#wire !== undefined) shrinkBuffer(socket, LITTLE);
    }
    if (this.#held && this.#wire !== undefined) shrinkWindow(far, LITTLE);
    return { near, far };
  }

  /** Resolves when as much waits in each of them as the setting says. */
  async filled(...sockets: readonly Socket[]): Promise<void> {
    const isFull = (socket: Socket): boolean => unreadBytes(socket) >= this.#backlog;
    await until(() => sockets.every(isFull), 'the backlog of a socket');
  }

  /** Has a server of the way's own listen, and closes it in the end. */
  async serve(server: http.Server): Promise<void> {
    if (this.#held) server.on('connection', (socket: Socket) => shrinkBuffer(socket, LITTLE));
    server.listen(0, this.#wire?.address ?? '127.0.0.1');
    await once(server, 'listening');
    this.onDispose(async () => {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    });
  }

  /** A connection to such a server. */
  async connect(server: http.Server): Promise<Socket> {
    const client = this.#wire === undefined ? net.connect(addressOf(server)) : await connectOver(this.#wire, server);
    client.on('error', () => {}); // the connection is gone
    this.peers.push(client);
    this.play('peer', client);
    this.play('sender', client);
    this.onDispose(() => destroyed(client));
    if (client.connecting) await once(client, 'connect');
    if (this.#held && this.#wire !== undefined) shrinkWindow(client, LITTLE);
    return client;
  }

  #streamOver(fd: number, readable: boolean, writable: boolean): Socket {
    const stream = new Socket({ fd, readable, writable, allowHalfOpen: true });
    stream.on('error', () => {});
    if (readable && this.#held) stream.pause();
    this.onDispose(() => destroyed(stream));
    return stream;
  }

  /** One of two connected unix sockets as a number to lend, and the other. */
  #numberOfSocket(): { fd: number; far: Socket } {
    const [fd, other] = makeSocketPair();
    return { fd: this.#lend(fd), far: this.#streamOver(other, true, true) };
  }

  // Sources.

  /** Sends the content when the stage is set: all at once, or the next message when the one before has arrived. */
  feed(writer: Socket, { content = this.content, reader, ...feeding }: Feeding = {}): void {
    this.#feeds.push(() => {
      if (feeding.manner !== 'in messages') void this.write(writer, content).then(() => writer.end());
      else feedInMessages(writer, content, reader ?? (this.#lastReader as Readable));
    });
  }

  /** Writes, and resolves when it has; the second half of it, where receivers wait, when these read on. */
  write(writer: Writable, bytes: Buffer): Promise<void> {
    return write(writer, bytes, this.#receivers.goingOn);
  }

  /** Both ends are there: what has been promised to sources is sent. */
  set(): void {
    for (const feed of this.#feeds.splice(0)) feed();
  }

  async socketSource(kind?: Kind, feeding: Feeding = {}): Promise<Socket> {
    const { near, far } = await this.pair(kind);
    this.watch(near);
    this.victim('source', () => near.destroy());
    this.play('source', near);
    this.play('sender', far);
    this.feed(far, feeding);
    return near;
  }

  numberOfSocketSource(): number {
    const { fd, far } = this.#numberOfSocket();
    this.feed(far);
    return fd;
  }

  /** A pipe that brings the content: its number, or a stream of Node's over it. */
  pipeSource(as: 'number' | 'stream', feeding: Feeding = {}): number | Socket {
    const [fd, other] = makePipe();
    this.feed(this.#streamOver(other, false, true), feeding);
    if (as === 'number') return this.#lend(fd);
    const stream = this.#streamOver(fd, true, false);
    this.play('source', stream);
    return stream;
  }

  /** The output of another process. */
  childSource(): Readable {
    const fd = openSync(this.file(), 'r');
    const child = spawn('cat', { stdio: [fd, 'pipe', 'ignore'] });
    const exited = once(child, 'exit');
    closeSync(fd);
    const output = child.stdout as unknown as Socket;
    output.on('error', () => {});
    this.play('source', output);
    this.onDispose(async () => {
      child.kill('SIGKILL');
      await exited;
      await destroyed(output);
    });
    return output;
  }

  // Destinations.

  #lastReader: Readable | undefined;

  /** What arrives at `far` is kept; at the end `finish` ends what has been sent on the near side. */
  receive(far: Readable, sent: () => number, finish: () => unknown, manner: Manner = {}): void {
    this.#lastReader = far;
    this.#receivers.addStream(beyond(far, sent, finish, manner.expected ?? this.content), sent, manner);
  }

  /** A file that is written to; read by `read` once all is over, when its name may be gone. */
  receiveFile(path: string, read?: () => Buffer): void {
    this.#receivers.add(inFile(path, read));
  }

  /** What is known when all is over. */
  receiveLast(finish: () => Promise<Buffer> | Buffer, expected?: Buffer | (() => Buffer)): void {
    this.#receivers.add(atLast(finish, expected));
  }

  /** The body that comes in answer to a request, as far as it comes. */
  receiveAnswer(request: http.ClientRequest, expected: Buffer = this.content): void {
    this.#receivers.add(inAnswer(request, this.#receivers.goingOn, expected));
    this.onDispose(() => request.destroy());
  }

  async socketDestination(kind?: Kind, manner: Manner = {}): Promise<Socket> {
    const { near, far } = await this.pair(kind);
    if (manner.late === true) shrinkBuffer(near);
    this.watch(near);
    this.victim('destination', () => near.destroy());
    this.play('destination', near);
    this.play('peer', far);
    const sent = (): number => near.bytesWritten;
    this.receive(far, sent, () => near.end(), manner);
    return near;
  }

  numberOfSocketDestination(): number {
    const { fd, far } = this.#numberOfSocket();
    this.receive(
      far,
      () => unreadBytes(far),
      () => this.take('numbers'),
    );
    return fd;
  }

  pipeDestination(): number {
    const [read, fd] = makePipe();
    const far = this.#streamOver(read, true, false);
    this.receive(
      far,
      () => unreadBytes(far),
      () => this.take('numbers'),
    );
    return this.#lend(fd);
  }

  /** A number of a new file. */
  fileDestination(flags: 'w' | 'a' = 'w'): number {
    const path = this.path();
    const fd = this.lend(path, flags);
    this.receiveFile(path);
    return fd;
  }

  handleDestination(): Promise<FileHandle> {
    const path = this.path();
    this.receiveFile(path);
    return this.handle(path, 'w');
  }

  /** A stream in user space. */
  streamDestination(): Writable {
    const receiver = inSink();
    this.play('destination', receiver.sink);
    this.#receivers.add(receiver);
    return receiver.sink;
  }

  /** Node's own stream into a file, closed when it is over. */
  nodeFileDestination(): Writable {
    const path = this.path();
    const destination = createWriteStream(path);
    this.play('destination', destination);
    const closed = once(destination, 'close').catch(() => {});
    this.onDispose(() => {
      destination.destroy();
      return closed;
    });
    this.receiveFile(path, () => readFileSync(path, { flag: 'a+' }));
    return destination;
  }

  // The end.

  /** Lets receivers read on that have been kept waiting. */
  goOn(): void {
    this.#receivers.goOn();
  }

  /** Bytes, or chunks, so far at all destinations. */
  arrived(): number {
    return this.#receivers.arrived();
  }

  moving(): boolean {
    return this.arrived() > 0;
  }

  /** What has arrived so far, at each destination, with what was to. */
  soFar(): readonly { readonly bytes: Buffer; readonly expected: Buffer }[] {
    return this.#receivers.soFar();
  }

  deliveries(told: readonly Told[]): Promise<readonly Delivery[]> {
    return this.#receivers.deliveries(told);
  }

  /** Numbers go last: once closed they are somebody else's, and what still reads or writes by them would do it there. */
  async dispose(): Promise<void> {
    await Promise.all(this.#disposals.splice(0).map((disposal) => disposal()));
    this.take('numbers');
  }
}

/** Closes a stream that is over: by its options it may not do so by itself, nor say so by an event. */
export async function closing(stream: Readable | Writable): Promise<void> {
  stream.destroy();
  if (!stream.closed) await until(() => stream.closed, 'the end of a stream');
}
