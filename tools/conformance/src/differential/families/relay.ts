/**
 * Two connections joined: `proxy`, `splice`, `tee` and `createSpliceReadStream` against `pipe` and `pipeline`.
 *
 *   left client ⇄ left server ── joined ── right server ⇄ right client
 *
 * The two clients are the peers. Each follows a list of turns; a turn may wait until so many bytes have come from the
 * other one, so that what happens on the two sides has an order.
 */

import type { Socket } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { resetConnection } from '@zerocopy/testing/sockets';
import fc from 'fast-check';
import { compact, seldom, size } from '../arbitraries.js';
import { content, difference, shareOf } from '../bytes.js';
import { codeOf, Journal } from '../journal.js';
import type { Family, Observation, Outcome, Run } from '../run.js';
import type { Transport } from '../workspace.js';

export type Turn =
  | { readonly do: 'send'; readonly bytes: number }
  | { readonly do: 'await'; readonly bytes: number }
  | { readonly do: 'await the end' | 'end' | 'destroy' | 'reset' };

export interface RelayProgram {
  readonly by: 'proxy' | 'one way' | 'stream' | 'tee';
  readonly left: Transport;
  readonly right: Transport;
  readonly leftTurns: readonly Turn[];
  readonly rightTurns: readonly Turn[];
  /** Sent by the left before the two are joined, and waited for: it is in the socket's buffers, or in Node's. */
  readonly early?: number | undefined;
  /** After so many bytes from the left have come to the right, and no more are on the way. */
  readonly abortAt?: number | undefined;
}

interface Peer {
  readonly socket: Socket;
  readonly bytes: () => Buffer;
}

const EVENTS = ['end', 'error', 'close'];

async function run(program: RelayProgram, run: Run): Promise<Observation> {
  const journal = new Journal();
  const open = { allowHalfOpen: true };
  const left = await run.workspace.pair(program.left, open, open);
  const right = await run.workspace.pair(program.right, open, open);
  const extra = program.by === 'tee' ? await run.workspace.pair('unix', open, open) : undefined;
  const sockets = [left, right, ...(extra === undefined ? [] : [extra])].flatMap(({ server, client }) => [
    server,
    client,
  ]);
  run.defer(() => {
    for (const socket of sockets) socket.destroy();
  });
  for (const socket of sockets) socket.on('error', () => {});
  const gather = (name: string, socket: Socket): Peer => {
    const chunks: Buffer[] = [];
    journal.watch(name, socket, EVENTS);
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      journal.touch();
    });
    return { socket, bytes: () => Buffer.concat(chunks) };
  };
  const leftPeer = gather('left', left.client);
  const rightPeer = gather('right', right.client);
  const extraPeer = extra && gather('extra', extra.client);

  if (program.early !== undefined) {
    left.client.write(content(0, program.early));
    while (left.client.bytesWritten < program.early || left.client.writableLength > 0) await new Promise(setImmediate);
  }
  const controller = new AbortController();
  let finished = false;
  join(program, run, left.server, right.server, extra?.server, controller.signal)
    .then(
      (counts) => {
        journal.note('joined', 'done');
        return counts;
      },
      (error) => {
        journal.note('joined', `error ${codeOf(error)}`);
        return run.side === 'ours' ? countsOf(error) : undefined;
      },
    )
    .then((counts) => check(counts))
    .catch((error: unknown) => run.violation(String((error as Error).stack)))
    .finally(() => {
      finished = true;
    });
  const sent = { left: program.early ?? 0, right: 0 };
  const check = (counts: Counts | undefined): void => {
    if (counts === undefined) return;
    const arrived = { forward: rightPeer.bytes().length, backward: leftPeer.bytes().length };
    for (const way of ['forward', 'backward'] as const) {
      const most = way === 'forward' ? sent.left : sent.right;
      if (counts[way] > most) run.violation(`${way}: ${counts[way]} bytes, of ${most} sent`);
      // Both peers are in this process: what has arrived may not have been read yet, but never the other way round.
      if (counts[way] < arrived[way]) run.violation(`${way}: ${counts[way]} bytes, but ${arrived[way]} have arrived`);
    }
  };

  const play = async (turns: readonly Turn[], own: 'left' | 'right', peer: Peer): Promise<void> => {
    for (const turn of turns) {
      if (peer.socket.destroyed) return;
      if (own === late && turn.do !== 'send') await new Promise<void>((resolve) => run.asPeer(resolve));
      switch (turn.do) {
        case 'send':
          peer.socket.write(content(sent[own], turn.bytes));
          sent[own] += turn.bytes;
          break;
        case 'await':
          while (peer.bytes().length < turn.bytes && !peer.socket.destroyed && !peer.socket.readableEnded && !stop)
            await new Promise(setImmediate);
          break;
        case 'await the end':
          while (!peer.socket.destroyed && !peer.socket.readableEnded && !stop) await new Promise(setImmediate);
          break;
        case 'end':
          peer.socket.end();
          break;
        case 'destroy':
          peer.socket.destroy();
          break;
        case 'reset':
          resetConnection(peer.socket);
          break;
      }
      journal.touch();
    }
  };
  let stop = false;
  let playing = 2;
  // In repeated runs one of the two, by chance, is late with what it does after sending.
  const late = Math.random() < 0.5 ? 'left' : 'right';
  for (const [turns, own, peer] of [
    [program.leftTurns, 'left', leftPeer],
    [program.rightTurns, 'right', rightPeer],
  ] as const) {
    play(turns, own, peer).finally(() => {
      playing--;
      journal.touch();
    });
  }
  if (program.abortAt !== undefined) {
    const at = program.abortAt;
    const look = (): void => {
      if (stop) return;
      if (rightPeer.bytes().length >= at) controller.abort();
      else setImmediate(look);
    };
    look();
  }
  const settled = await run.settle(
    journal,
    () => finished && playing === 0 && left.client.closed && right.client.closed,
  );
  stop = true;

  const outcome: Record<string, unknown> = {};
  const shares: [string, Peer | undefined, number][] = [
    ['right', rightPeer, sent.left],
    ['left', leftPeer, sent.right],
    ['extra', extraPeer, sent.left],
  ];
  for (const [name, peer, bytes] of shares) {
    if (peer === undefined) continue;
    const share = shareOf(peer.bytes(), content(0, bytes));
    if (share === undefined) run.violation(`at the ${name} ${difference(peer.bytes(), content(0, bytes))}`);
    outcome[name] = share;
  }
  return {
    violations: [],
    outcome: {
      ended: settled,
      events: journal.entries(),
      received: outcome,
      servers: {
        left: state(left.server),
        right: state(right.server),
      },
    },
  };
}

const state = (socket: Socket): Record<string, unknown> => ({
  destroyed: socket.destroyed,
  readableEnded: socket.readableEnded,
  writableFinished: socket.writableFinished,
});

interface Counts {
  readonly forward: number;
  readonly backward: number;
}

async function join(
  { by }: RelayProgram,
  run: Run,
  left: Socket,
  right: Socket,
  extra: Socket | undefined,
  signal: AbortSignal,
): Promise<Counts | undefined> {
  switch (by) {
    case 'proxy': {
      const { forward, backward } = await run.by.proxy(left, right, { signal, halfCloseTimeout: 0 });
      return counted(run, forward.bytes, backward.bytes);
    }
    case 'stream':
      await pipeline(run.by.createSpliceReadStream(left), right, { signal });
      return undefined;
    case 'one way':
    case 'tee': {
      const to = by === 'tee' ? [right, extra as Socket] : [right];
      const { bytes } =
        by === 'tee' ? await run.by.tee(left, to, { signal }) : await run.by.splice(left, right, { signal });
      for (const socket of to) socket.end(); // as pipeline does; they themselves end nothing
      await ended(right);
      return counted(run, bytes, 0);
    }
  }
}

const counted = ({ side }: Run, forward: number, backward: number): Counts | undefined =>
  side === 'ours' ? { forward, backward } : undefined;

const ended = (socket: Socket): Promise<void> =>
  new Promise((resolve, reject) => {
    if (socket.writableFinished) resolve();
    else socket.once('finish', resolve).once('error', reject).once('close', resolve);
  });

function countsOf(error: unknown): Counts | undefined {
  const { forward, backward } = error as { forward?: { bytes: number }; backward?: { bytes: number } };
  return forward && backward && { forward: forward.bytes, backward: backward.bytes };
}

/** Whether somebody breaks a connection off, or it is aborted. */
const breaks = ({ leftTurns, rightTurns, abortAt }: RelayProgram): boolean =>
  abortAt !== undefined || [...leftTurns, ...rightTurns].some(({ do: what }) => what === 'reset' || what === 'destroy');

function reconcile(program: RelayProgram, node: Outcome, ours: Outcome): void {
  if (!breaks(program)) return;
  // README of splice-pipe: "A reset is not taken for an end, not even where libuv reports one: a short read and a hang-up
  // together." Node's pipeline is done then, as if all had come.
  const told = ours.events.joined?.[0] === 'error ECONNRESET' && node.events.joined?.[0] === 'done';
  if (
    told &&
    program.leftTurns.some(({ do: what }) => what === 'reset' || what === 'destroy') &&
    program.by !== 'proxy'
  ) {
    Object.assign(node, structuredClone(ours));
    return;
  }
  if (program.by === 'proxy') {
    // README of splice-pipe: "After a failure, a time-out or an abort both sockets are destroyed, TCP peers by a reset:
    // nobody takes for whole what was cut off." Node's two pipelines destroy them too, but end a TCP peer properly.
    const failed = ours.events.joined?.some((event: string) => event.startsWith('error'));
    if (!failed) return;
    for (const peer of ['left', 'right'] as const) {
      const events: string[] = ours.events[peer];
      const isReset = program[peer] === 'tcp' && events.includes('error ECONNRESET') && !events.includes('end');
      if (isReset || program[peer] === 'unix') {
        node.events[peer] = events;
        // What a reset overtakes is lost on its way; what came is a beginning all the same.
        node.received[peer] = ours.received[peer];
      }
    }
    if (ours.servers.left.destroyed && ours.servers.right.destroyed) node.servers = ours.servers;
    node.ended = ours.ended;
    // Of several failures the first is told, as Promise.all tells of the pipeline that noticed first.
    const nodeFailed = node.events.joined?.some((event: string) => event.startsWith('error'));
    if (nodeFailed || told) node.events.joined = ours.events.joined;
    return;
  }
  if (program.by === 'one way' || program.by === 'tee') {
    // README: splice stops "at a byte that the error tells; sockets stay usable, nothing is lost", and destroys nothing
    // but a side that failed by itself. tee likewise. pipeline destroys both: only how it ends can be compared.
    // README: a destination of tee that fails is dropped, and the others go on.
    const isDropped =
      program.by === 'tee' && program.rightTurns.some(({ do: what }) => what !== 'end' && what !== 'await the end');
    const codes = isDropped ? [] : [node.events.joined, ours.events.joined].map((events) => events?.[0]?.split(' ')[0]);
    for (const name of Object.keys(node)) node[name] = ours[name];
    node.codes = codes[0] ?? 'nothing';
    ours.codes = codes[1] ?? 'nothing';
  }
}

const turns = (transport: Transport, breaking: boolean): fc.Arbitrary<Turn[]> => {
  const send = fc.record({ do: fc.constant('send'), bytes: size });
  const wait = fc.record({ do: fc.constant('await'), bytes: fc.integer({ min: 0, max: 50_000 }) });
  const last = breaking
    ? fc.constantFrom<Turn>({ do: 'destroy' }, transport === 'tcp' ? { do: 'reset' } : { do: 'destroy' })
    : fc.constantFrom<Turn>({ do: 'end' }, { do: 'end' }, { do: 'await the end' });
  return fc
    .tuple(fc.array(fc.oneof(send, send, wait), { maxLength: 4 }), last, fc.boolean())
    .map(([some, end, late]) => [
      ...some,
      ...(late && end.do === 'end' ? [{ do: 'await the end' } as Turn] : []),
      end,
      ...(end.do === 'await the end' ? [{ do: 'end' } as Turn] : []),
    ]);
};

const transport = fc.constantFrom('tcp', 'tcp', 'unix');

const programs: fc.Arbitrary<RelayProgram> = fc
  .record({
    by: fc.constantFrom('proxy', 'proxy', 'one way', 'stream', 'tee'),
    left: transport,
    right: transport,
    early: seldom(3, fc.integer({ min: 1, max: 50_000 })),
    breaks: fc.constantFrom('left', 'right', 'no', 'no', 'no'),
  })
  .chain(({ breaks: breaking, ...rest }) =>
    fc
      .tuple(
        turns(rest.left, false),
        turns(rest.right, false),
        turns(rest[breaking === 'right' ? 'right' : 'left'], true),
      )
      .map(([leftTurns, rightTurns, broken]): RelayProgram => {
        const oneWay = rest.by !== 'proxy';
        // The left half-closes sometime, or is broken off: else nothing would ever end.
        const left = breaking === 'left' ? broken : leftTurns;
        // What the right sends is for nobody where there is one way only.
        const right = (breaking === 'right' ? broken : rightTurns).filter((turn) => !oneWay || turn.do !== 'send');
        return compact({ ...rest, leftTurns: ordered(left, breaking), rightTurns: ordered(right, breaking) });
      }),
  );

/**
 * A broken connection breaks at the same byte in every run, if all that was sent before has arrived by then: whoever
 * breaks it waits for nothing and has sent nothing.
 */
function ordered(list: readonly Turn[], breaking: 'left' | 'right' | 'no'): Turn[] {
  return breaking === 'no' ? [...list] : list.filter(({ do: what }) => what !== 'send' && what !== 'await');
}

export const relay: Family<RelayProgram> = { name: 'relay', programs, run, reconcile };
