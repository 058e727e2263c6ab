import { channel } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { libcStatus, TRANSFER_CHANNEL, TransferError, type TransferTrace } from '@zerocopy/core-syscalls';
import {
  type Resume,
  type SlotEngine,
  type SlotOutcome,
  SlotTransfer,
  type SlotTransferOptions,
  WOULD_BLOCK,
  type WriteSlot,
} from '@zerocopy/transfer';
import test, { type ExecutionContext } from 'ava';

const status = libcStatus();
const onLinux = status.available ? test.serial : test.skip;
if (!status.available) test.skip(`slot transfers: ${status.reason}`, () => {});

async function pair(t: ExecutionContext): Promise<{ server: Socket; client: Socket }> {
  const listener = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const accepted = once(listener, 'connection');
  const client = connect({ port: (listener.address() as { port: number }).port, host: '127.0.0.1' });
  const [server] = (await accepted) as [Socket];
  await (client.connecting ? once(client, 'connect') : undefined);
  for (const socket of [server, client]) socket.on('error', () => {});
  t.teardown(() => {
    server.destroy();
    client.destroy();
    listener.close();
  });
  return { server, client };
}

/** Writes `text` through its slot, a byte a time if it is told so, and waits in between for the test to go on. */
class TextEngine implements SlotEngine {
  readonly method = 'copy';
  readonly syscall = 'write';
  pending: (() => void) | undefined;
  readonly #slot: WriteSlot;
  readonly #text: string;
  #sent = 0;

  constructor(slot: WriteSlot, text: string) {
    this.#slot = slot;
    this.#text = text;
  }

  attempt(): number {
    return this.#sent === this.#text.length ? 0 : WOULD_BLOCK;
  }

  wait(count: number, resume: Resume): void {
    this.pending = (): void => {
      const part = this.#text.slice(this.#sent, this.#sent + Math.min(count, 4));
      this.#sent += part.length;
      this.#slot.write(Buffer.from(part), (error) => resume(error ?? null, error ? 0 : part.length));
    };
  }
}

interface Started {
  readonly transfer: SlotTransfer;
  readonly engines: TextEngine[];
  readonly outcomes: SlotOutcome[];
  /** Lets the transfer go on until it has ended. */
  finish(): Promise<SlotOutcome>;
}

function started(socket: Socket, text: string, options: Partial<SlotTransferOptions> = {}): Started {
  const engines: TextEngine[] = [];
  const outcomes: SlotOutcome[] = [];
  const transfer = new SlotTransfer({
    destination: { stream: socket, socket },
    engine: (slot) => {
      const engine = new TextEngine(slot as WriteSlot, text);
      engines.push(engine);
      return engine;
    },
    length: Number.POSITIVE_INFINITY,
    method: 'copy',
    onEnd: (outcome) => outcomes.push(outcome),
    ...options,
  });
  return {
    transfer,
    engines,
    outcomes,
    async finish() {
      while (outcomes.length === 0) {
        const { pending } = engines[0] ?? {};
        if (engines[0] !== undefined) engines[0].pending = undefined;
        pending?.();
        await new Promise((resolve) => setImmediate(resolve));
      }
      return outcomes[0] as SlotOutcome;
    },
  };
}

async function received(client: Socket): Promise<string> {
  let text = '';
  for await (const chunk of client) text += chunk;
  return text;
}

onLinux('its bytes leave between what was written before and after it', async (t) => {
  const { server, client } = await pair(t);
  server.write('before ');
  const { transfer, finish } = started(server, 'the transfer');
  transfer.start();
  server.end(' after');
  t.like(await finish(), { kind: 'completed', result: { bytes: 12 } });
  t.is(await received(client), 'before the transfer after');
});

onLinux('stopped, it ends at the byte it has reached, and what waits behind it goes out', async (t) => {
  const { server, client } = await pair(t);
  const { transfer, engines, outcomes, finish } = started(server, 'abcdefgh');
  transfer.start();
  server.end('!');
  engines[0]?.pending?.();
  await new Promise((resolve) => setImmediate(resolve));
  transfer.stop('a test');
  transfer.stop('again');
  t.like(await finish(), { kind: 'stopped', result: { bytes: 4 } });
  t.is(await received(client), 'abcd!');
  t.is(outcomes.length, 1);
});

onLinux('stopped while it waits for its slot: nothing of it is sent, and the queue goes on', async (t) => {
  const { server, client } = await pair(t);
  const first = started(server, 'first');
  const second = started(server, 'second');
  first.transfer.start();
  second.transfer.start();
  t.true(second.transfer.queued);
  second.transfer.stop('a test');
  t.like(second.outcomes, [{ kind: 'stopped' }]);
  server.end(' third');
  await first.finish();
  t.is(await received(client), 'first third');
  t.is(second.engines.length, 0);
});

onLinux(
  'after a failure that is not the destination’s, what waits behind it is held back until it is settled',
  async (t) => {
    const { server, client } = await pair(t);
    const { transfer, finish } = started(server, 'abcd');
    transfer.start();
    server.end(' rest');
    transfer.fail(Object.assign(new Error('broken'), { code: 'EBROKEN' }));
    t.like(await finish(), { kind: 'failed', side: undefined, error: { code: 'EBROKEN' } });
    await new Promise((resolve) => setTimeout(resolve, 20));
    t.is(server.writableFinished, false);
    transfer.settle('keep');
    transfer.settle('destroy'); // idempotent: the first word counts
    t.is(await received(client), ' rest');
  },
);

onLinux('fewer bytes than were promised are a failure of the source', async (t) => {
  const { server } = await pair(t);
  const { transfer, finish } = started(server, 'abcd', { promised: 10, length: 10 });
  transfer.start();
  t.like(await finish(), { kind: 'failed', side: 'source', error: { code: 'ERR_FILE_TRUNCATED', bytes: 4 } });
  transfer.settle('destroy');
  t.true(server.destroyed);
});

onLinux('a destination that is destroyed: its own error is told, once, and published as such', async (t) => {
  const { server } = await pair(t);
  const published: TransferTrace[] = [];
  const onTrace = (trace: unknown): void => void published.push(trace as TransferTrace);
  channel(`tracing:${TRANSFER_CHANNEL}:asyncEnd`).subscribe(onTrace);
  t.teardown(() => channel(`tracing:${TRANSFER_CHANNEL}:asyncEnd`).unsubscribe(onTrace));
  const { transfer, outcomes, finish } = started(server, 'abcd');
  transfer.start();
  server.destroy(Object.assign(new Error('no more'), { code: 'ENOMORE' }));
  t.like(await finish(), { kind: 'failed', side: 'destination', error: { code: 'ENOMORE' } });
  t.is(outcomes.length, 1);
  t.like(published, [{ error: { code: 'ENOMORE' }, bytes: 0 }]);
});

onLinux('a destination that is gone before it starts: a failure that says so, and no engine', async (t) => {
  const { server } = await pair(t);
  server.destroy();
  const { transfer, engines, outcomes } = started(server, 'abcd');
  transfer.start();
  t.like(outcomes, [{ kind: 'failed', side: 'destination', error: { code: 'ECONNRESET' } }]);
  t.is(engines.length, 0);
});

onLinux('a source that closes is a failure of the source', async (t) => {
  const { server } = await pair(t);
  const other = await pair(t);
  const { transfer, finish } = started(server, 'abcd', { source: other.server });
  transfer.start();
  other.server.destroy();
  await once(other.server, 'close');
  t.like(await finish(), { kind: 'failed', side: 'source', error: { code: 'ECONNRESET' } });
  transfer.settle('keep');
});

for (const act of ['stop', 'fail', 'destroy'] as const) {
  onLinux(`a subscriber of the start that acts (${act}): no slot is asked for, and it ends once`, async (t) => {
    const { server, client } = await pair(t);
    const { transfer, engines, outcomes } = started(server, 'abcd');
    const onStart = (): void => {
      if (act === 'stop') transfer.stop('a test');
      else if (act === 'fail') transfer.fail(new Error('a test'));
      else server.destroy();
    };
    channel(`tracing:${TRANSFER_CHANNEL}:start`).subscribe(onStart);
    transfer.start();
    channel(`tracing:${TRANSFER_CHANNEL}:start`).unsubscribe(onStart);
    t.is(outcomes.length, 1);
    t.is(outcomes[0]?.kind, act === 'stop' ? 'stopped' : 'failed');
    t.is(engines.length, 0);
    if (act === 'destroy') return;
    server.end('still usable');
    t.is(await received(client), 'still usable');
  });
}

onLinux('the signal aborts it while it waits for its slot, and while it moves', async (t) => {
  const { server, client } = await pair(t);
  const aborter = new AbortController();
  const first = started(server, 'first');
  const queued = started(server, 'queued', { signal: aborter.signal });
  first.transfer.start();
  queued.transfer.start();
  aborter.abort();
  t.like(queued.outcomes, [{ kind: 'failed', side: undefined, error: { code: 'ABORT_ERR' } }]);
  await first.finish();
  const moving = new AbortController();
  const third = started(server, 'abcdefgh', { signal: moving.signal });
  third.transfer.start();
  third.engines[0]?.pending?.();
  await new Promise((resolve) => setImmediate(resolve));
  moving.abort();
  t.like(await third.finish(), { kind: 'failed', error: { code: 'ABORT_ERR', bytes: 4 } });
  third.transfer.settle('keep');
  server.end('.');
  t.is(await received(client), 'firstabcd.');
});

onLinux('ended by foreign code while its engine is made: nothing moves, and the queue goes on', async (t) => {
  const { server, client } = await pair(t);
  const { transfer, outcomes } = started(server, 'abcd', {
    engine: (slot) => {
      transfer.stop('a test');
      return new TextEngine(slot as WriteSlot, 'abcd');
    },
  });
  transfer.start();
  t.like(outcomes, [{ kind: 'stopped', result: { bytes: 0 } }]);
  t.is(outcomes.length, 1);
  server.end('after');
  t.is(await received(client), 'after');
});

onLinux('fewer bytes than promised are published as a failure, with what the owner says of it', async (t) => {
  const { server } = await pair(t);
  const published: TransferTrace[] = [];
  const failures = channel(`tracing:${TRANSFER_CHANNEL}:error`);
  const listener = (trace: unknown): void => void published.push(trace as TransferTrace);
  failures.subscribe(listener);
  t.teardown(() => failures.unsubscribe(listener));
  const { transfer, finish } = started(server, 'half', {
    promised: 8,
    endedEarly: (bytes, promised) => new TransferError(`${bytes} of ${promised}`, { code: 'ECONNRESET', bytes }),
  });
  transfer.start();
  const outcome = await finish();
  t.like(outcome, { kind: 'failed', side: 'source', error: { message: '4 of 8', bytes: 4 } });
  t.like(published, [{ bytes: 4, error: { message: '4 of 8' } }]);
  transfer.settle('keep');
});

/** Hands the same text to each of its slots at once. */
function toSeveral(
  sockets: readonly Socket[],
  text: string,
): { transfer: SlotTransfer; ended: Promise<SlotOutcome>; lost: number[] } {
  const lost: number[] = [];
  let transfer: SlotTransfer | undefined;
  const ended = new Promise<SlotOutcome>((resolve) => {
    transfer = new SlotTransfer({
      destination: sockets.map((socket) => ({ stream: socket, socket })),
      engine: (_slot, slots) => {
        let sent = false;
        return {
          method: 'copy',
          syscall: 'write',
          attempt: () => (sent ? 0 : WOULD_BLOCK),
          wait(_count, resume) {
            sent = true;
            let left = slots.length;
            for (const slot of slots) {
              slot.write(Buffer.from(text), () => {
                if (--left === 0) setTimeout(() => resume(null, text.length), 20);
              });
            }
          },
          lostSlot: (index) => void lost.push(index),
        };
      },
      length: Number.POSITIVE_INFINITY,
      method: 'copy',
      onEnd: resolve,
    });
  });
  return { transfer: transfer as unknown as SlotTransfer, ended, lost };
}

onLinux('slots of several at once: crossed, the one that asked first goes first in every queue', async (t) => {
  const [one, two] = [await pair(t), await pair(t)];
  const first = toSeveral([one.server, two.server], 'first ');
  const second = toSeveral([two.server, one.server], 'second ');
  first.transfer.start();
  second.transfer.start();
  t.true(second.transfer.queued);
  for (const { server } of [one, two]) server.end('end');
  t.like(await Promise.all([first.ended, second.ended]), [{ kind: 'completed' }, { kind: 'completed' }]);
  for (const { client } of [one, two]) t.is(await received(client), 'first second end');
});

onLinux(
  'slots of several at once: one that is lost while another is waited for fails it, and it holds none',
  async (t) => {
    const [one, two] = [await pair(t), await pair(t)];
    const blocking = started(two.server, 'blocking');
    blocking.transfer.start();
    const { transfer, ended } = toSeveral([two.server, one.server], ' both');
    transfer.start();
    one.server.destroy();
    t.like(await ended, { kind: 'failed', side: 'destination', error: { code: 'ECONNRESET' } });
    transfer.settle('keep');
    two.server.end(' alone');
    await blocking.finish();
    t.is(await received(two.client), 'blocking alone');
  },
);

onLinux(
  'slots of several at once: one that is lost while bytes move is told to the engine, and the rest go on',
  async (t) => {
    const [one, two] = [await pair(t), await pair(t)];
    const { transfer, ended, lost } = toSeveral([one.server, two.server], 'both');
    transfer.start();
    one.server.destroy();
    await once(one.server, 'close');
    t.like(await ended, { kind: 'completed', result: { bytes: 4 } });
    t.deepEqual(lost, [0]);
    two.server.end();
    t.is(await received(two.client), 'both');
  },
);

onLinux('slots of several at once: stopped while it waits, it holds none of them', async (t) => {
  const [one, two] = [await pair(t), await pair(t)];
  const blocking = started(two.server, 'blocking');
  blocking.transfer.start();
  const { transfer, ended } = toSeveral([one.server, two.server], ' both');
  transfer.start();
  transfer.stop('a test');
  t.like(await ended, { kind: 'stopped' });
  one.server.end('free');
  t.is(await received(one.client), 'free');
  two.server.end();
  await blocking.finish();
  t.is(await received(two.client), 'blocking');
});
