import { AsyncLocalStorage } from 'node:async_hooks';
import { channel, tracingChannel } from 'node:diagnostics_channel';
import { constants, TRANSFER_CHANNEL, type TransferResult, type TransferTrace } from '@zerocopy/core-syscalls';
import { type Resume, Transfer, type TransferEngine, TransferScope, transferCounts } from '@zerocopy/transfer';
import test from 'ava';

const result: TransferResult = { bytes: 3, method: 'copy', fallbackReason: 'a test', syscalls: 1, durationMs: 0 };

/** Records every event of the channel while `use` runs. */
async function recorded(use: () => unknown): Promise<[string, TransferTrace][]> {
  const events: [string, TransferTrace][] = [];
  const names = ['start', 'end', 'asyncStart', 'asyncEnd', 'error'] as const;
  const handlers = Object.fromEntries(
    names.map((name) => [name, (trace: TransferTrace) => events.push([name, trace])]),
  ) as never;
  const tracing = tracingChannel(TRANSFER_CHANNEL);
  tracing.subscribe(handlers);
  try {
    await use();
  } finally {
    tracing.unsubscribe(handlers);
  }
  return events;
}

/** An engine that waits once, then moves everything. */
class WaitingEngine implements TransferEngine {
  readonly method = 'splice';
  readonly syscall = 'splice';
  resume: Resume = () => {};
  attempts = 0;

  attempt(count: number): number {
    this.attempts++;
    return this.attempts === 1 ? -constants.EAGAIN : count;
  }

  wait(_count: number, resume: Resume): void {
    this.resume = resume;
  }
}

test.serial('a scope is published once, however often it is ended, with what it was about', async (t) => {
  const events = await recorded(() => {
    const scope = new TransferScope({ length: 5, source: 'file', destination: 'http', detail: { source: '/x' } });
    scope.start();
    scope.start();
    scope.succeed(result);
    scope.succeed(result);
    scope.fail(new Error('late'), result);
  });
  t.deepEqual(
    events.map(([name]) => name),
    ['start', 'end', 'asyncStart', 'asyncEnd'],
  );
  const [[, trace]] = events as [[string, TransferTrace]];
  t.true(events.every(([, other]) => other === trace));
  t.like(trace, { length: 5, source: 'file', destination: 'http', bytes: 3, method: 'copy', fallbackReason: 'a test' });
  t.deepEqual(trace.result, result);
});

test.serial('a failure tells the error, and what had left by then, and no result', async (t) => {
  const failure = new Error('broken');
  const events = await recorded(() => new TransferScope({}).fail(failure, result));
  t.deepEqual(
    events.map(([name]) => name),
    ['start', 'end', 'error', 'asyncStart', 'asyncEnd'],
  );
  t.like(events[2]?.[1], { error: failure, bytes: 3, method: 'copy', result: undefined });
});

test.serial('a store bound to the start of the channel is in force in the callbacks of the transfer', async (t) => {
  const store = new AsyncLocalStorage<string>();
  const start = channel(`tracing:${TRANSFER_CHANNEL}:start`);
  start.bindStore(store, (trace) => `span of ${(trace as TransferTrace).length}`);
  const seen: unknown[] = [];
  const engine = new WaitingEngine();
  new Transfer({
    engine,
    length: 10,
    onProgress: () => seen.push(store.getStore()),
    onEnd: () => seen.push(store.getStore()),
  }).start();
  engine.resume(null, 0);
  start.unbindStore(store);
  t.deepEqual(seen, ['span of 10', 'span of 10', 'span of 10']);
  t.is(store.getStore(), undefined);
});

test.serial('callbacks run in the async context in which the transfer was made, wherever its wait ends', (t) => {
  const store = new AsyncLocalStorage<number>();
  const engines = [1, 2, 3].map((id) => {
    const engine = new WaitingEngine();
    const seen: unknown[] = [];
    store.run(id, () =>
      new Transfer({
        engine,
        length: 10,
        onProgress: () => seen.push(store.getStore()),
        onEnd: () => seen.push(store.getStore()),
      }).start(),
    );
    return { id, engine, seen };
  });
  store.run(99, () => {
    for (const { engine } of engines) engine.resume(null, 0);
  });
  for (const { id, seen } of engines) t.deepEqual(new Set(seen), new Set([id]));
});

for (const how of ['stop', 'lost', 'abort'] as const) {
  test.serial(
    `a subscriber of the start that ends the transfer (${how}): nothing is attempted, and it ends once`,
    async (t) => {
      const engine = new WaitingEngine();
      const aborter = new AbortController();
      const ended: unknown[] = [];
      const transfer = new Transfer({
        engine,
        length: 10,
        signal: aborter.signal,
        onEnd: (error) => ended.push(error?.code ?? null),
      });
      const act = (): void => {
        if (how === 'abort') aborter.abort();
        else transfer[how](how === 'stop' ? null : Object.assign(new Error('gone'), { code: 'EGONE' }));
      };
      const start = channel(`tracing:${TRANSFER_CHANNEL}:start`);
      start.subscribe(act);
      try {
        transfer.start();
      } finally {
        start.unsubscribe(act);
      }
      t.is(engine.attempts, 0);
      t.deepEqual(ended, [{ stop: null, lost: 'EGONE', abort: 'ABORT_ERR' }[how]]);
    },
  );
}

test.serial('what has been moved is counted, by method and by reason', (t) => {
  const before = transferCounts();
  new TransferScope({}).succeed(result);
  new TransferScope({}).fail(new Error('x'), { ...result, method: 'splice', bytes: 7 });
  const after = transferCounts();
  t.is(after.transfers - before.transfers, 2);
  t.is(after.failed - before.failed, 1);
  t.is((after.bytes.splice ?? 0) - (before.bytes.splice ?? 0), 7);
  t.is((after.bytes.copy ?? 0) - (before.bytes.copy ?? 0), 3);
  t.is((after.copied['a test'] ?? 0) - (before.copied['a test'] ?? 0), 2);
});
