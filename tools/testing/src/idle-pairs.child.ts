/**
 * A TCP proxy with so many connections, each of which has passed on a little, and, if that is asked for, much; now they are
 * idle. Prints what a pair of sockets holds; and, if minutes are given, what it holds after so long an idle time, once each has
 * passed on a little again: COUNT BYTES [MINUTES].
 */
import { once } from 'node:events';
import net, { type AddressInfo, type Socket } from 'node:net';
import { collectGarbage, openDescriptors } from './holdings.js';
import { pause, until } from './waiting.js';

/** What a pair holds: bytes of heap, and descriptors. */
export interface HeldByPair {
  readonly heap: number;
  readonly descriptors: number;
}

/** What is printed, as JSON. */
export interface IdlePairs extends HeldByPair {
  /** After the idle time. */
  readonly later?: HeldByPair;
}

const [count = '', bytes = '', minutes = '0'] = process.argv.slice(2);
const much = Buffer.alloc(Number(bytes));

async function heap(): Promise<number> {
  await collectGarbage();
  return process.memoryUsage().heapUsed;
}

const accepted: Socket[] = [];
const server = net.createServer({ allowHalfOpen: true }, (socket) => accepted.push(socket)).listen(0, '127.0.0.1');
await once(server, 'listening');
const { port } = server.address() as AddressInfo;

/** @returns the two ends of a connection. */
async function connected(): Promise<[Socket, Socket]> {
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  await Promise.all([once(socket, 'connect'), until(() => accepted.length > 0, 'it is accepted')]);
  return [socket, accepted.pop() as Socket];
}

let received = 0;
type Ends = readonly [client: Socket, inner: Socket, outer: Socket, target: Socket];

async function proxied(): Promise<Ends> {
  const [client, inner] = await connected();
  const [outer, target] = await connected();
  inner.pipe(outer);
  outer.pipe(inner);
  for (const end of [client, target]) {
    end.on('data', ({ length }: Buffer) => {
      received += length;
    });
  }
  const ends: Ends = [client, inner, outer, target];
  await passOn(ends, Buffer.from('little'), much);
  return ends;
}

/** In both directions. */
async function passOn([client, , , target]: Ends, ...all: readonly Buffer[]): Promise<void> {
  const expected = received + 2 * Buffer.concat(all).length;
  for (const end of [client, target]) for (const part of all) end.write(part);
  await until(() => received === expected, 'all has arrived');
}

// Everything has been compiled, and what is shared has been made, before anything is counted.
const pairs: Ends[] = [];
for (let n = 0; n < 20; n++) pairs.push(await proxied());
const isIdle = (): boolean => pairs.every((ends) => ends.every((end) => !Object.hasOwn(end, '_read')));
await until(isIdle, 'none is taken');
const before = { heap: await heap(), descriptors: openDescriptors() };

async function held(): Promise<HeldByPair> {
  await until(isIdle, 'none is taken any more');
  // Pipes that wait for the next transfer are closed after a while.
  const most = before.descriptors + 4 * Number(count);
  await until(() => openDescriptors() <= most, 'no more are open than there are sockets');
  const bytesHeld = (await heap()) - before.heap;
  return {
    heap: bytesHeld / Number(count),
    descriptors: (openDescriptors() - before.descriptors) / Number(count),
  };
}

for (let n = 0; n < Number(count); n++) pairs.push(await proxied());
let report: IdlePairs = await held();
if (Number(minutes) > 0) {
  await pause(Number(minutes) * 60_000);
  for (const ends of pairs) await passOn(ends, Buffer.from('little'));
  report = { ...report, later: await held() };
}
process.stdout.write(JSON.stringify(report));
process.exit();
