/** The side of the lease thread that its owner sees: started with the first lease, ended with the last. */
import type { MessageChannel, Worker } from 'node:worker_threads';
import { syscalls } from '@zerocopy/core-syscalls';
import { nodeThreads } from '@zerocopy/core-syscalls/descriptors';
import { koffiLocation } from '@zerocopy/core-syscalls/native';
import { clearTimeout, setTimeout } from '@zerocopy/transfer';
// The whole code of the thread as text, so that it travels with this module, whatever a bundler makes of it.
import source from './lease-thread.worker.js?text';
import { type FromThread, giveUp, LEASE_SIGNAL, type ThreadData, type ToThread, type Watch } from './shared.js';

/**
 * Milliseconds that the first thread outlives its last lease: starting one costs about 20. Each further one stays twice as
 * long as the one before. For a thread that has ended leaves mappings behind (koffi 3.3 does not free what it calls with),
 * and a process may have 65,530: so there are some 25 threads in a month, however leases come and go.
 */
const LINGER = 100;
/** What a timer can wait: three weeks. */
const LINGER_MAX = 2 ** 31 - 1;

export interface Watcher {
  onBreak(downgradeTo: 'read' | 'none', deadline: number): void;
  /** The thread has given the lease up. */
  onReleased(): void;
  /** The thread is gone, and no break of the lease is answered any more. */
  onLost(): void;
}

type Watched = Omit<Watch, 'kind' | 'id'>;

class LeaseThread {
  readonly #watchers = new Map<number, Watcher>();
  readonly #watched = new Map<number, Watched>();
  readonly #worker: Worker;
  readonly #port: MessageChannel['port1'];
  readonly ready: Promise<void>;
  #threadId = 0;
  #nextId = 1;

  constructor(onEnd: () => void) {
    const { MessageChannel, Worker } = nodeThreads();
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    this.#worker = new Worker(source, {
      eval: true,
      name: 'zerocopy-leases',
      workerData: { port: port2, koffi: koffiLocation() } satisfies ThreadData,
      transferList: [port2],
      execArgv: [],
      trackUnmanagedFds: false,
    });
    this.ready = new Promise((resolve, reject) => {
      this.#worker.once('error', (error) => {
        onEnd();
        reject(error);
        for (const watcher of [...this.#watchers.values()]) watcher.onLost();
      });
      port1.on('message', (message: FromThread) => {
        if (message.kind === 'ready') {
          this.#threadId = message.threadId;
          port1.unref();
          this.#worker.unref();
          resolve();
        } else if (message.kind === 'break') {
          this.#watchers.get(message.id)?.onBreak(message.downgradeTo, message.deadline);
        } else this.#watchers.get(message.id)?.onReleased();
      });
    });
  }

  /** Of the thread that gets the signals. */
  get threadId(): number {
    return this.#threadId;
  }

  get isIdle(): boolean {
    return this.#watchers.size === 0;
  }

  /** From now on the thread answers. To be called before the lease is taken. */
  watch(watch: Watched, watcher: Watcher): number {
    const id = this.#nextId++;
    this.#watchers.set(id, watcher);
    this.#watched.set(id, watch);
    this.#send({ kind: 'watch', id, ...watch });
    return id;
  }

  watchAgain(id: number, watch: Watched): void {
    if (!this.#watchers.has(id)) return;
    this.#watched.set(id, watch);
    this.#send({ kind: 'watch', id, ...watch });
  }

  forget(id: number): void {
    this.#watched.delete(id);
    if (this.#watchers.delete(id)) this.#send({ kind: 'forget', id });
  }

  /**
   * Gives up leases whose breaks will not be answered any more, without asking. Not what keeps a mapping readable: it may
   * be looked at until the very end.
   */
  giveUpAll(): void {
    for (const { words, fd, mapping } of this.#watched.values()) if (mapping === undefined) giveUp(words, fd);
  }

  /** Ends the thread at once, in whatever it waits. */
  stop(): void {
    this.#send({ kind: 'stop' });
    syscalls.tgkill(process.pid, this.#threadId, LEASE_SIGNAL);
  }

  #send(message: ToThread): void {
    this.#port.postMessage(message);
  }
}

let current: LeaseThread | undefined;
let lingering: NodeJS.Timeout | undefined;
let linger = LINGER / 2;

// A worker thread that is waited for at exit would make the exit wait for its slice. And so would this process's own
// thread pool: an open() there that waits for a lease of this process waits until the kernel takes it away (45 s).
const stopAtExit = (): void => {
  current?.giveUpAll();
  current?.stop();
};

function noThread(): void {
  process.off('exit', stopAtExit);
  current = undefined;
}

/** The thread, running. Follow it up, in the same turn, with a watch, or with {@link leaveThread}. */
export async function leaseThread(): Promise<LeaseThread> {
  clearTimeout(lingering);
  if (current === undefined) {
    const thread = new LeaseThread(() => {
      if (current === thread) noThread();
    });
    current = thread;
    linger = Math.min(2 * linger, LINGER_MAX);
    process.on('exit', stopAtExit);
  }
  const thread = current;
  await thread.ready;
  // It may have been stopped while this call waited for its turn.
  return thread === current ? thread : leaseThread();
}

/** Lets the thread go, soon, if it has nothing more to watch. */
export function leaveThread(): void {
  clearTimeout(lingering);
  if (current?.isIdle !== true) return;
  lingering = setTimeout(() => {
    if (current?.isIdle !== true) return;
    current.stop();
    noThread();
  }, linger).unref();
}
