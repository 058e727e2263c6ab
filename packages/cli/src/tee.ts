/** `zerocopy tee`. */
import { once } from 'node:events';
import { type FileHandle, open } from 'node:fs/promises';
import net, { type Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { type SpliceDestination, type SpliceSource, TeeError, type TeeResult, tee } from '@zerocopy/splice-pipe';
import { type Call, UsageError } from './command.js';
import {
  ADDRESS,
  addressOf,
  checkListenable,
  formatAddress,
  listen,
  parseAddress,
  parseTarget,
  TARGET,
} from './server/address.js';
import type { TargetAddress } from './server/targets.js';
import type { Terminal } from './terminal.js';
import { parseDuration, summary } from './units.js';

interface Destination {
  readonly name: string;
  readonly stream: SpliceDestination;
  /** After the last byte: resolves when it has been taken. */
  end(): Promise<void>;
}

/** Passes everything on. @returns 0, or 1 where a destination has not got all of it. */
export async function run(call: Call, terminal: Terminal): Promise<number> {
  const dropAfter = call.read('drop-after', parseDuration, 'a time, such as 5s');
  const from = call.read('connect', parseTarget, TARGET);
  const at = call.read('listen', parseAddress, ADDRESS);
  if (from !== undefined && at !== undefined) throw new UsageError('--connect cannot be used with --listen');
  const usesOutput = !call.has('no-stdout');
  if (!usesOutput && call.operands.length === 0) throw new UsageError('expected a destination, with --no-stdout');
  const named = call.operands.map((name) => [name, targetOf(name)] as const);
  if (at !== undefined) checkListenable(at);
  const { signal } = terminal;
  const destinations: Destination[] = [];
  let source: Socket | undefined;
  try {
    if (usesOutput) {
      const stream = terminal.stdio.stdout as Writable;
      destinations.push({ name: 'standard output', stream: stream as SpliceDestination, end: async () => {} });
    }
    for (const [name, address] of named) {
      destinations.push(
        address === undefined ? await openFile(name, call.has('append')) : await openConnection(name, address, signal),
      );
    }
    if (from !== undefined) source = await connect(from, signal);
    else if (at !== undefined) source = await acceptOne(at, terminal);
    const streams = destinations.map(({ stream }) => stream);
    const result = await tee((source ?? terminal.stdio.stdin) as SpliceSource, streams, {
      signal,
      ...(dropAfter !== undefined && { dropAfter }),
    });
    const ends = await Promise.allSettled(destinations.map(({ end }) => end()));
    signal.throwIfAborted();
    return tell(result, destinations, ends, call, terminal);
  } catch (error) {
    if (!(error instanceof TeeError) || signal.aborted) throw error;
    const isQuiet = error.destinations.every(({ error: cause }) => cause !== undefined && isEpipe(cause.code));
    if (isQuiet && error.destinations.length > 0) return 0;
    throw error;
  } finally {
    source?.destroy();
    for (const { stream } of destinations)
      if (stream instanceof net.Socket && !isStandard(stream)) stream.destroySoon();
  }
}

const isStandard = (stream: unknown): boolean => stream === process.stdout || stream === process.stderr;
const isEpipe = (code: string): boolean => code === 'EPIPE';

/** Undefined: it is a file. @throws {UsageError} */
function targetOf(name: string): TargetAddress | undefined {
  if (!/^(tcp:\/\/|unix:)/.test(name)) return undefined;
  const address = parseTarget(name);
  if (address === undefined) throw new UsageError(`DESTINATION: expected a file or ${TARGET}, got '${name}'`);
  return address;
}

/** How long a peer that has said something may take to end its side, in milliseconds. */
const LINGER = 5000;

async function openConnection(name: string, address: TargetAddress, signal: AbortSignal): Promise<Destination> {
  const socket = await connect(address, signal);
  // Whatever the peer says is dropped: it must not wait for us, and we wait for it to read.
  const ended = once(socket.resume(), 'end', { signal }).catch(() => {}); // it is over as well: what is written to it says how
  return {
    name,
    stream: socket,
    async end() {
      if (socket.destroyed) return;
      await finished(socket.end(), { readable: false, signal });
      // The kernel throws away what the peer has not got yet if anything comes for a socket that is closed: a peer that talks
      // is given the time to hear the end.
      if (socket.bytesRead > 0) await Promise.race([ended, delay(LINGER, undefined, { ref: false })]);
    },
  };
}

async function openFile(name: string, appends: boolean): Promise<Destination> {
  const file: FileHandle = await open(name, appends ? 'a' : 'w');
  return { name, stream: file, end: () => file.close() };
}

async function connect(address: TargetAddress, signal: AbortSignal): Promise<Socket> {
  const where =
    address.kind === 'unix' ? { path: address.path } : { host: address.host ?? '127.0.0.1', port: address.port };
  const socket = net.connect({ ...where, allowHalfOpen: true });
  try {
    await once(socket, 'connect', { signal });
  } catch (error) {
    socket.destroy();
    throw error;
  }
  return socket;
}

/** The first that connects. */
async function acceptOne(address: ReturnType<typeof parseAddress> & object, terminal: Terminal): Promise<Socket> {
  const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true });
  await listen(server, address);
  terminal.note(`zerocopy tee: waiting at ${formatAddress(addressOf(server, address))}`);
  try {
    const [socket] = (await once(server, 'connection', { signal: terminal.signal })) as [Socket];
    return socket;
  } finally {
    server.close();
  }
}

/** @param ends how each destination has taken the end. */
function tell(
  result: TeeResult,
  destinations: readonly Destination[],
  ends: readonly PromiseSettledResult<void>[],
  call: Call,
  terminal: Terminal,
): number {
  let status = 0;
  const { bytes, method, fallbackReason, durationMs } = result;
  const branches = result.destinations.map(({ bytes: got, error: failure }, index) => {
    const name = destinations[index]?.name ?? '';
    const end = ends[index];
    const error = failure ?? (end?.status === 'rejected' ? (end.reason as NodeJS.ErrnoException) : undefined);
    const isQuiet = name === 'standard output' && error !== undefined && isEpipe(error.code ?? '');
    if (error !== undefined && !isQuiet) {
      status = 1;
      terminal.note(`zerocopy tee: ${name}: ${error.message}`);
    }
    return { name, bytes: got, error: error?.code };
  });
  if (call.has('json')) {
    const told = { bytes, seconds: durationMs / 1000, method, reason: fallbackReason, destinations: branches };
    terminal.note(JSON.stringify(told));
  } else if (!call.has('quiet')) {
    const what = `${branches.length} ${branches.length === 1 ? 'destination' : 'destinations'}`;
    terminal.note(summary(`zerocopy tee: ${what}`, bytes, durationMs, method, fallbackReason));
  }
  return status;
}
