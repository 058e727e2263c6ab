import { execFile } from 'node:child_process';
import { tracingChannel } from 'node:diagnostics_channel';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  constants,
  libcStatus,
  SyscallError,
  TRANSFER_CHANNEL,
  type TransferError,
  type TransferResult,
} from '@zerocopy/core-syscalls';
import {
  activeTransfers,
  NOT_RESIDENT,
  pieceSize,
  quantumSize,
  type Resume,
  SOURCE_ENDED,
  Transfer,
  type TransferEngine,
  type TransferOptions,
  WOULD_BLOCK,
} from '@zerocopy/transfer';
import test from 'ava';

const { EAGAIN, EINTR, EIO, EINVAL } = constants;

/** An engine that plays a script: numbers are answers to attempts. */
class ScriptedEngine implements TransferEngine {
  readonly method = 'sendfile';
  readonly syscall = 'sendfile';
  readonly asked: number[] = [];
  readonly waits: Resume[] = [];
  readonly offloads: Resume[] = [];
  inStream = 0;
  next: TransferEngine | undefined;
  readonly #script: number[];

  constructor(...script: number[]) {
    this.#script = script;
  }

  attempt(count: number): number {
    this.asked.push(count);
    const answer = this.#script.shift();
    if (answer === undefined) throw new Error('the script has ended');
    return Math.min(answer, count);
  }

  wait(_count: number, resume: Resume): void {
    this.waits.push(resume);
  }

  offload(_count: number, resume: Resume): void {
    this.offloads.push(resume);
  }

  successor(): TransferEngine | undefined {
    return this.next;
  }
}

interface Ended {
  readonly error: TransferError | null;
  readonly result: TransferResult;
}

function run(engine: TransferEngine, options: Partial<TransferOptions> = {}): { transfer: Transfer; ended: Ended[] } {
  const ended: Ended[] = [];
  const transfer = new Transfer({
    engine,
    length: 100,
    onEnd: (error, result) => ended.push({ error, result }),
    ...options,
  });
  transfer.start();
  return { transfer, ended };
}

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test.serial('short counts and EINTR are no reason to wait (kernel-rules: short-is-not-eagain, eintr)', (t) => {
  const engine = new ScriptedEngine(10, -EINTR, 1, 89);
  const { ended } = run(engine);
  t.deepEqual(engine.asked, [100, 90, 90, 89]);
  t.is(engine.waits.length, 0);
  t.is(ended.length, 1);
  t.is(ended[0]?.error, null);
  t.like(ended[0]?.result, { bytes: 100, method: 'sendfile', syscalls: 4 });
});

test.serial('only EAGAIN waits; what the wait moved counts', (t) => {
  const engine = new ScriptedEngine(40, -EAGAIN, 50);
  const { transfer, ended } = run(engine);
  t.is(transfer.state, 'waiting');
  t.is(ended.length, 0);
  engine.waits[0]?.(null, 10);
  t.is(ended[0]?.result.bytes, 100);
  t.is(transfer.state, 'ended');
});

test.serial(
  'a call off the thread that is refused hands over to the successor (kernel-rules: refused-not-failed)',
  (t) => {
    const engine = new ScriptedEngine(40, NOT_RESIDENT);
    engine.next = new ScriptedEngine(60);
    const { ended } = run(engine);
    engine.offloads[0]?.(new SyscallError(EINVAL, 'sendfile'), 0);
    t.is(ended[0]?.error, null);
    t.is(ended[0]?.result.bytes, 100);
    t.deepEqual((engine.next as ScriptedEngine).asked, [60]);
  },
);

test.serial('what fails in a wait is not refused: the successor is not asked', (t) => {
  const engine = new ScriptedEngine(40, -EAGAIN);
  engine.next = new ScriptedEngine(60);
  const { ended } = run(engine);
  engine.waits[0]?.(new SyscallError(EINVAL, 'write'), 0);
  t.is(ended[0]?.error?.code, 'EINVAL');
  t.is(ended[0]?.error?.bytes, 40);
});

test.serial('a wait that resumes synchronously does not re-enter the loop', (t) => {
  let attempts = 0;
  let depth = 0;
  const engine: TransferEngine = {
    method: 'sendfile',
    syscall: 'sendfile',
    attempt() {
      t.is(depth, 0, 'attempted from within wait()');
      attempts++;
      return -EAGAIN;
    },
    wait(_count, resume) {
      depth++;
      resume(null, 1);
      depth--;
    },
  };
  const { ended } = run(engine, { length: 50_000 });
  t.is(attempts, 50_000);
  t.is(ended[0]?.result.bytes, 50_000);
});

test.serial('a cold range goes off the thread, and NOT_RESIDENT is never counted as a system call', (t) => {
  const engine = new ScriptedEngine(NOT_RESIDENT, 60);
  const { transfer, ended } = run(engine);
  t.is(transfer.state, 'offloading');
  engine.offloads[0]?.(null, 40);
  t.like(ended[0]?.result, { bytes: 100, syscalls: 2 });
});

test.serial('the source may end early, at an attempt or while waiting; the count says where', (t) => {
  t.like(run(new ScriptedEngine(30, 0)).ended[0], { error: null, result: { bytes: 30 } });
  const engine = new ScriptedEngine(30, -EAGAIN);
  const { ended } = run(engine);
  engine.waits[0]?.(null, SOURCE_ENDED);
  t.like(ended[0], { error: null, result: { bytes: 30 } });
});

test.serial('an error carries the exact count and the cause (kernel-rules: exact-progress)', (t) => {
  const { ended } = run(new ScriptedEngine(30, -EIO));
  const error = ended[0]?.error;
  t.is(error?.code, 'EIO');
  t.is(error?.bytes, 30);
  t.is((error?.cause as NodeJS.ErrnoException | undefined)?.syscall, 'sendfile');
  t.is(ended[0]?.result.bytes, 30);
});

test.serial('a refused engine is succeeded at the same byte (kernel-rules: refused-not-failed)', (t) => {
  const engine = new ScriptedEngine(30, -EINVAL);
  engine.next = { method: 'copy', syscall: 'read', reason: 'refused', attempt: (count) => count, wait() {} };
  t.like(run(engine).ended[0], { error: null, result: { bytes: 100, method: 'copy', fallbackReason: 'refused' } });
});

test.serial('after a quantum the loop gets its turn (kernel-rules: bounded-turn)', async (t) => {
  const piece = 1024 * 1024;
  const engine: TransferEngine = { method: 'sendfile', syscall: 'sendfile', attempt: (count) => count, wait() {} };
  const { transfer, ended } = run(engine, { length: 5 * piece });
  t.is(transfer.state, 'yielding');
  t.is(transfer.bytes, quantumSize(true), 'less in the first, while others may be starting');
  await nextTurn();
  t.is(transfer.bytes, quantumSize(true) + quantumSize());
  while (ended.length === 0) await nextTurn();
  t.is(ended[0]?.result.bytes, 5 * piece);
});

test.serial('what waits have moved that resume at once counts for the quantum, too', async (t) => {
  const piece = 256 * 1024;
  let waits = 0;
  const engine: TransferEngine = {
    method: 'copy',
    syscall: 'read',
    attempt: () => WOULD_BLOCK,
    wait(count, resume) {
      waits++;
      resume(null, Math.min(count, piece));
    },
  };
  const { transfer, ended } = run(engine, { length: 64 * piece });
  t.is(transfer.state, 'yielding');
  t.is(waits, Math.ceil(quantumSize(true) / piece));
  await nextTurn();
  t.is(waits, Math.ceil(quantumSize(true) / piece) + Math.ceil(quantumSize() / piece));
  while (ended.length === 0) await nextTurn();
  t.is(ended[0]?.result.bytes, 64 * piece);
});

test.serial('the engine that a transfer has ended with gives back what was lent to it, once', (t) => {
  const left: string[] = [];
  const leaving = (name: string, ...script: number[]): ScriptedEngine =>
    Object.assign(new ScriptedEngine(...script), { leave: () => left.push(name) });
  run(leaving('whole', 100));
  run(leaving('failed', -EIO));
  const waiting = run(leaving('stopped', -EAGAIN));
  waiting.transfer.stop(null);
  waiting.transfer.stop(null);
  const refused = leaving('refused', -EINVAL);
  refused.next = leaving('successor', 100);
  run(refused);
  t.deepEqual(left, ['whole', 'failed', 'stopped', 'successor']);
});

test.serial('many transfers at once share: smaller pieces, still all of them done', async (t) => {
  t.is(activeTransfers(), 0);
  const alone = pieceSize();
  const engines = Array.from({ length: 64 }, () => new ScriptedEngine(-EAGAIN, 100));
  const runs = engines.map((engine) => run(engine));
  t.is(activeTransfers(), 64);
  t.true(pieceSize() < alone);
  for (const engine of engines) engine.waits[0]?.(null, 0);
  t.true(runs.every(({ ended }) => ended[0]?.result.bytes === 100));
  t.is(activeTransfers(), 0);
});

test.serial('abort: before, while waiting, while yielding, off the thread, and from onProgress', async (t) => {
  const aborted = run(new ScriptedEngine(), { signal: AbortSignal.abort('why') });
  t.like(aborted.ended[0]?.error, { name: 'AbortError', code: 'ABORT_ERR', bytes: 0, cause: 'why' });

  const waiting = new AbortController();
  const engine = new ScriptedEngine(40, -EAGAIN);
  const whileWaiting = run(engine, { signal: waiting.signal });
  engine.inStream = 7;
  waiting.abort();
  t.is(whileWaiting.ended[0]?.error?.bytes, 47, 'what the stream has taken will arrive');
  engine.waits[0]?.(null, 7);
  t.is(whileWaiting.ended.length, 1);

  const offloading = new AbortController();
  const cold = new ScriptedEngine(NOT_RESIDENT);
  const offThread = run(cold, { signal: offloading.signal });
  offloading.abort();
  t.is(offThread.ended.length, 0, 'a call on another thread is waited for');
  cold.offloads[0]?.(null, 25);
  t.is(offThread.ended[0]?.error?.bytes, 25);

  const progress = new AbortController();
  const fromProgress = run(new ScriptedEngine(40, -EAGAIN), {
    signal: progress.signal,
    onProgress: () => progress.abort(),
  });
  t.is(fromProgress.ended.length, 1);
  t.is(fromProgress.ended[0]?.error?.code, 'ABORT_ERR');
  t.is(activeTransfers(), 0);
});

test.serial('stop ends without an error; a lost destination does not count what its stream still held', (t) => {
  const engine = new ScriptedEngine(40, -EAGAIN);
  const { transfer, ended } = run(engine);
  transfer.stop(null);
  t.like(ended[0], { error: null, result: { bytes: 40 } });

  const other = new ScriptedEngine(40, -EAGAIN);
  const lost = run(other);
  other.inStream = 7;
  lost.transfer.lost(Object.assign(new Error('gone'), { code: 'ECONNRESET' }));
  t.like(lost.ended[0]?.error, { code: 'ECONNRESET', bytes: 40 });
});

test.serial('what onProgress throws ends the transfer, once', (t) => {
  const engine = new ScriptedEngine(40, -EAGAIN);
  const { ended } = run(engine, {
    onProgress() {
      throw new Error('mine');
    },
  });
  t.is(ended.length, 1);
  t.is((ended[0]?.error?.cause as Error | undefined)?.message, 'mine');
  t.is(engine.waits.length, 0);
});

test.serial('progress is told at every pause and at the end, with the total', (t) => {
  const told: [number, number | undefined][] = [];
  const engine = new ScriptedEngine(40, -EAGAIN, 60);
  run(engine, { onProgress: (bytes, total) => told.push([bytes, total]) });
  engine.waits[0]?.(null, 0);
  t.deepEqual(told, [
    [40, 100],
    [100, 100],
  ]);
});

test.serial('a diagnostics channel tells of every transfer', (t) => {
  const events: string[] = [];
  const subscriber = {
    start: () => events.push('start'),
    end: () => events.push('end'),
    asyncStart: () => events.push('asyncStart'),
    asyncEnd: (message: { result?: TransferResult }) => events.push(`asyncEnd ${message.result?.bytes ?? 'error'}`),
    error: () => events.push('error'),
  };
  const channel = tracingChannel(TRANSFER_CHANNEL);
  channel.subscribe(subscriber as never);
  run(new ScriptedEngine(100));
  run(new ScriptedEngine(-EIO));
  channel.unsubscribe(subscriber as never);
  run(new ScriptedEngine(100));
  t.deepEqual(events, [
    'start',
    'end',
    'asyncStart',
    'asyncEnd 100',
    'start',
    'end',
    'error',
    'asyncStart',
    'asyncEnd error',
  ]);
});

test.serial('limit ends it, as a success, at a byte: at once if that has been reached, else there', (t) => {
  const engine = new ScriptedEngine(10, -EAGAIN, 15);
  const { transfer, ended } = run(engine);
  transfer.limit(30);
  t.is(ended.length, 0);
  engine.waits[0]?.(null, 5);
  t.like(ended[0], { error: null, result: { bytes: 30 } });
  t.deepEqual(engine.asked, [100, 90, 15]);

  const reached = run(new ScriptedEngine(10, -EAGAIN));
  reached.transfer.limit(10);
  t.like(reached.ended[0], { error: null, result: { bytes: 10 } });

  // From within the progress callback: the wait that would have followed is not begun.
  const waiting = new ScriptedEngine(10, -EAGAIN);
  const results: TransferResult[] = [];
  const limited = new Transfer({
    engine: waiting,
    length: 100,
    onProgress: (bytes) => limited.limit(bytes),
    onEnd: (_error, result) => results.push(result),
  });
  limited.start();
  t.is(waiting.waits.length, 0);
  t.like(results, [{ bytes: 10 }]);
});

(libcStatus().available ? test : test.skip)(
  'more threads than koffi has asynchronous calls: all calls are made; one that cannot be is told as ENOMEM',
  async (t) => {
    const fixture = fileURLToPath(new URL('./fixtures/many-off-thread.js', import.meta.url));
    const env = { ...process.env, UV_THREADPOOL_SIZE: '1024' };
    const { stdout } = await promisify(execFile)(process.execPath, [fixture], { env });
    t.deepEqual(JSON.parse(stdout), { ones: 600, refused: -constants.ENOMEM });
  },
);

test.serial('started twice it starts once; stopped before, it ends once, and has moved nothing', (t) => {
  const engine = new ScriptedEngine(-EAGAIN);
  const { transfer, ended } = run(engine);
  transfer.start();
  t.is(engine.asked.length, 1);
  transfer.stop(null);
  transfer.stop(new Error('too late'));
  t.deepEqual(
    ended.map(({ error }) => error),
    [null],
  );
  const never: Ended[] = [];
  const stopped = new Transfer({
    engine: new ScriptedEngine(),
    length: 1,
    onEnd: (error, result) => never.push({ error, result }),
  });
  stopped.stop(new Error('no use'));
  t.like(never, [{ error: { message: 'no use', bytes: 0, code: 'ERR_TRANSFER_FAILED' } }]);
  stopped.start();
  t.is(never.length, 1);
  t.is(activeTransfers(), 0);
});

test.serial('what is thrown and is no Error is told in words; an engine that has no offload says so', (t) => {
  const { transfer, ended } = run(new ScriptedEngine(-EAGAIN));
  transfer.stop('out of the blue');
  t.like(ended[0]?.error, { message: 'out of the blue', code: 'ERR_TRANSFER_FAILED', cause: 'out of the blue' });
  const { ended: cold } = run({ method: 'sendfile', syscall: 'sendfile', attempt: () => NOT_RESIDENT, wait() {} });
  t.regex(cold[0]?.error?.message ?? '', /answered NOT_RESIDENT but has no offload/);
  t.is(activeTransfers(), 0);
});

test.serial('stopped within an attempt it makes no other', (t) => {
  let attempts = 0;
  let stopping: Transfer | undefined;
  const ended: Ended[] = [];
  const engine: TransferEngine = {
    method: 'sendfile',
    syscall: 'sendfile',
    attempt() {
      attempts++;
      stopping?.stop(new Error('enough'));
      return 10;
    },
    wait() {},
  };
  stopping = new Transfer({ engine, length: 100, onEnd: (error, result) => ended.push({ error, result }) });
  stopping.start();
  t.is(attempts, 1);
  t.like(ended, [{ error: { message: 'enough', bytes: 10 } }]);
});
