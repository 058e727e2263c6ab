/** `zerocopy tee`. */
import { once } from 'node:events';
import { type FileHandle, open } from 'node:fs/promises';
import net, { type Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { type SpliceDestination, type SpliceSource, TeeError, type TeeResult, tee } from '@zerocopy/splice-pipe';
import { type Call, UsageError } from './command.js';
import { ADDRESS, addressOf, formatAddress, listen, parseAddress, parseTarget } from './server/address.js';
import type { TargetAddress } from './server/targets.js';
import type { Terminal } from './terminal.js';
import { parseDuration, summary } from './units.js';

interface Destination {
  readonly name: string;
  readonly stream: SpliceDestination;
  /** After the last byte. */
  end(): Promise<void>;
}

/** Passes everything on. @returns 0, or 1 where a destination has not got all of it. */
export async function run(call: Call, terminal: Terminal): Promise<number> {
  const dropAfter = call.read('drop-after', parseDuration, 'a time, such as 5s');
  const from = call.read('connect', parseTarget, 'tcp://host:port or unix:path');
  const at = call.read('listen', parseAddress, ADDRESS);
  if (from !== undefined && at !== undefined) throw new UsageError('--connect cannot be used with --listen');
  const usesOutput = !call.has('no-stdout');
  if (!usesOutput && call.operands.length === 0) throw new UsageError('expected a destination, with --no-stdout');
  const { signal } = terminal;
  const destinations: Destination[] = [];
  let source: Socket | undefined;
  try {
    if (usesOutput) {
      const stream = terminal.stdio.stdout as Writable;
      destinations.push({ name: 'standard output', stream: stream as SpliceDestination, end: async () => {} });
    }
    for (const name of call.operands) destinations.push(await openDestination(name, call.has('append'), signal));
    if (from !== undefined) source = await connect(from, signal);
    else if (at !== undefined) source = await acceptOne(at, terminal);
    const streams = destinations.map(({ stream }) => stream);
    const result = await tee((source ?? terminal.stdio.stdin) as SpliceSource, streams, {
      signal,
      ...(dropAfter !== undefined && { dropAfter }),
    });
    for (const { end } of destinations) await end();
    return tell(result, destinations, call, terminal);
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

async function openDestination(name: string, appends: boolean, signal: AbortSignal): Promise<Destination> {
  const address = /^(tcp:\/\/|unix:)/.test(name) ? parseTarget(name) : undefined;
  if (address !== undefined) {
    const socket = await connect(address, signal);
    return {
      name,
      stream: socket,
      async end() {
        if (socket.destroyed) return;
        socket.end();
        await once(socket, 'finish');
      },
    };
  }
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

function tell(result: TeeResult, destinations: readonly Destination[], call: Call, terminal: Terminal): number {
  let status = 0;
  const { bytes, method, fallbackReason, durationMs } = result;
  const branches = result.destinations.map(({ bytes: got, error }, index) => {
    const name = destinations[index]?.name ?? '';
    const isQuiet = name === 'standard output' && error !== undefined && isEpipe(error.code);
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
