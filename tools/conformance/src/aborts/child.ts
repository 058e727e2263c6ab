/** The process that ends: by the order in its first argument. Its worker threads run this file too. */
import { tracingChannel } from 'node:diagnostics_channel';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isMainThread, parentPort, threadId, Worker, workerData } from 'node:worker_threads';
import { idle, jobs, startAll } from './cargo.js';
import { type ChildOrder, endings, MARK, READY } from './endings.js';

/** How many worker threads come and go, where they do. */
const WORKERS = 4;

const order = (isMainThread ? JSON.parse(process.argv[2] as string) : workerData) as ChildOrder;
const { side } = order;
const ending = endings.find(({ name }) => name === order.ending);
if (ending === undefined) throw new Error(`no ending is called ${order.ending}`);

/**
 * Left out in worker threads, unless the order says otherwise. By HTTP: Node's own parser aborts the process where its
 * thread is terminated at the wrong moment, with Node's own streams as well. One view after the other: koffi does so,
 * in the microsecond that it takes to make one.
 */
const HAZARDS: readonly string[] = ['response', 'uploaded', 'mapped', 'pooled'];

const channel = tracingChannel('zerocopy:transfer');
/** What the next callback of a transfer does. */
let trap: (() => void) | undefined;
const spring = (): void => {
  const sprung = trap;
  trap = undefined;
  sprung?.();
};
const fail = (): never => {
  throw new Error(MARK);
};
const hooks = {
  onProgress(): void {
    // Node's own streams publish nothing: what stands for it is published with their progress.
    if (side === 'node' && channel.start.hasSubscribers) channel.start.publish({});
    if (!ending.name.endsWith('listener')) spring();
  },
  onEvent(): void {
    if (!ending.name.endsWith('onProgress')) spring();
  },
};

/** Starts everything, and resolves when it is to end. */
async function underWay(): Promise<void> {
  const directory = join(order.directory, String(threadId));
  mkdirSync(directory, { recursive: true });
  const setting = { side, hooks, directory, file: order.file };
  if (ending?.cargo === 'idle') return idle(setting);
  const safe = Object.entries(jobs).filter(([name]) => isMainThread || order.hazards || !HAZARDS.includes(name));
  const moving = startAll(
    safe.map(([, job]) => job),
    setting,
  );
  if (!order.early) await moving;
  if (isMainThread) console.log(READY);
  await delay(order.delay);
}

/** One after the other, each in the midst of its transfers; tells how they ended. */
async function workersComeAndGo(): Promise<void> {
  for (let count = 0; count < WORKERS; count++) {
    const worker = new Worker(new URL(import.meta.url), { workerData: { ...order, early: false } });
    worker.on('error', (error) => console.log(`error: ${error.message}`));
    const exit = new Promise<number>((resolve) => worker.once('exit', resolve));
    await Promise.race([new Promise((resolve) => worker.once('message', resolve)), exit]);
    if (ending?.name === 'worker.terminate()') await worker.terminate();
    console.log(`a worker has ended: ${await exit}`);
  }
}

function startWorkers(): Promise<unknown> {
  const started = Array.from({ length: 2 }, () => {
    const worker = new Worker(new URL(import.meta.url), { workerData: { ...order, early: false } });
    return new Promise((resolve) => worker.once('message', resolve));
  });
  return Promise.all(started);
}

async function endWorker(): Promise<void> {
  await underWay();
  parentPort?.postMessage('under way');
  if (ending?.name === 'process.exit() in a worker') process.exit(3);
  if (ending?.name === 'uncaught exception in a worker') setImmediate(fail);
}

async function end(): Promise<void> {
  switch (ending?.name) {
    case 'SIGTERM with a handler':
      process.once('SIGTERM', () => process.exit(5));
      break;
    case 'SIGINT with a handler':
      process.once('SIGINT', () => process.exit(6));
      break;
    case 'process.exit() with workers busy':
    case 'SIGTERM with workers busy':
      await startWorkers();
      break;
    default:
  }
  await underWay();
  switch (ending?.name) {
    case 'process.exit()':
    case 'process.exit() with workers busy':
      process.exit(7);
      break;
    case 'process.exit() in onProgress':
    case 'process.exit() in a listener':
      trap = () => process.exit(8);
      break;
    case 'uncaught exception':
      setImmediate(fail);
      break;
    case 'uncaught exception in onProgress':
    case 'uncaught exception in a listener':
      trap = fail;
      break;
    case 'uncaught exception in a diagnostics_channel subscriber':
      channel.start.subscribe(fail);
      break;
    case 'exception with a handler for it':
      process.on('uncaughtException', (error) => {
        console.log(`handled: ${error.message}`);
        // What was under way goes on.
        trap = () => process.exit(4);
      });
      setImmediate(fail);
      break;
    case 'unhandled rejection':
      void Promise.reject(new Error(MARK));
      break;
    case 'natural end':
      console.log(READY);
      break;
    case 'worker.terminate()':
    case 'process.exit() in a worker':
    case 'uncaught exception in a worker':
      await workersComeAndGo();
      trap = () => process.exit(9); // the main thread goes on
      break;
    default: // a signal comes
  }
}

await (isMainThread ? end() : endWorker());
