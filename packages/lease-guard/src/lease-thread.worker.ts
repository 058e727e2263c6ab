/**
 * The thread that answers breaks. It blocks the signals in itself, waits for them in sigtimedwait, and gives leases up
 * without the thread that holds them: a busy or blocked event loop never makes another process wait
 * (kernel-rules: lease-self-deadlock).
 *
 * It never returns to its event loop: messages are taken from the port by hand, after each wait.
 */
import { readFileSync } from 'node:fs';
import { receiveMessageOnPort, workerData } from 'node:worker_threads';
import { check, constants, syscalls } from '@zerocopy/core-syscalls';
import { useKoffi } from '@zerocopy/core-syscalls/native';
import {
  BREAKING,
  DETACHED,
  exclusively,
  type FromThread,
  GENERATION,
  giveUp,
  HELD,
  LEASE_SIGNAL,
  LISTENERS,
  type ThreadData,
  type ToThread,
  type Watch,
} from './shared.js';
import { detachMapping } from './snapshot.js';

const { F_GETLEASE, F_RDLCK, SIG_BLOCK, SIGIO } = constants;
/** Milliseconds after which a message is seen for which no signal was sent. */
const SLICE = 250;
/** Seconds: the kernel's own default of /proc/sys/fs/lease-break-time. */
const DEFAULT_BREAK_TIME = 45;
/** si_code of a signal that a thread has sent: a wake-up of ours, not a break. */
const SI_TKILL = -6;

const { port, koffi } = workerData as ThreadData;
// This code comes as text, and has no file from which anything could be found.
useKoffi(koffi);
const leases = new Map<number, Watch>();
/** When, by performance.now(), a listener that dawdles is overruled. */
const deadlines = new Map<number, number>();

const signals = Buffer.alloc(syscalls.SIGSET_SIZE);
for (const signal of [LEASE_SIGNAL, SIGIO]) {
  const bit = signal - 1;
  signals[bit >> 3] = (signals[bit >> 3] as number) | (1 << (bit & 7));
}
// A signal that is not blocked here would end the process.
check(syscalls.pthreadSigmask(SIG_BLOCK, signals, null), 'pthread_sigmask');

// Once for nothing: koffi aborts the process if the thread is terminated while it binds a function, and from here on
// the thread that has started it may do so.
syscalls.sigtimedwait(signals, Buffer.alloc(syscalls.SIGINFO_SIZE), new BigInt64Array(2));
syscalls.fcntl(-1, F_GETLEASE, 0);

const tell = (message: FromThread): void => port.postMessage(message);
tell({ kind: 'ready', threadId: check(syscalls.gettid(), 'gettid') });

const information = Buffer.alloc(syscalls.SIGINFO_SIZE);
const timeout = new BigInt64Array(2);
for (let running = true; running; ) {
  timeout[1] = BigInt(Math.round(waitTime() * 1e6));
  const signal = syscalls.sigtimedwait(signals, information, timeout);
  for (let next = receiveMessageOnPort(port); next !== undefined; next = receiveMessageOnPort(port)) {
    const message = next.message as ToThread;
    if (message.kind === 'watch') {
      forget(message.id);
      leases.set(message.id, message);
    } else if (message.kind === 'forget') forget(message.id);
    else running = false;
  }
  if (signal === LEASE_SIGNAL && information.readInt32LE(8) !== SI_TKILL) {
    const fd = information.readInt32LE(24);
    for (const lease of leases.values()) if (lease.fd === fd) look(lease);
  } else if (signal === SIGIO) {
    // The queue of real-time signals is full, and this one does not say whose lease it is about
    // (kernel-rules: lease-order).
    for (const lease of leases.values()) look(lease);
  }
  const now = performance.now();
  for (const [id, deadline] of deadlines) {
    const lease = leases.get(id);
    if (lease !== undefined && (deadline <= now || (lease.mapping !== undefined && detach(lease)))) release(lease);
  }
}
port.close();

/** Milliseconds to wait: to the next deadline, at most a slice. */
function waitTime(): number {
  let wait = SLICE;
  const now = performance.now();
  for (const deadline of deadlines.values()) wait = Math.min(wait, Math.max(0, deadline - now));
  return wait;
}

function forget(id: number): void {
  leases.delete(id);
  deadlines.delete(id);
}

function release(lease: Watch): void {
  forget(lease.id);
  if (giveUp(lease.words, lease.fd) !== undefined) tell({ kind: 'released', id: lease.id });
}

/** Milliseconds that the kernel gives the holder of a lease; Infinity: for ever (a break time of 0). */
function breakTime(): number {
  let seconds = DEFAULT_BREAK_TIME;
  try {
    seconds = Number(readFileSync('/proc/sys/fs/lease-break-time', 'utf8'));
  } catch {} // no descriptor left, or no /proc: a break is answered all the same
  return seconds > 0 ? seconds * 1000 : Number.POSITIVE_INFINITY;
}

/** Whether the mapping is a copy now, or gone, and the file may be changed. */
function detach({ words, mapping, generation }: Watch): boolean {
  let detached = true;
  exclusively(words, (state) => {
    if (mapping === undefined || Atomics.load(words, GENERATION) !== generation) return state; // the next message says so
    try {
      detachMapping(mapping);
      Atomics.store(words, DETACHED, 1);
    } catch {
      detached = false; // no memory for it at the moment
    }
    return state;
  });
  return detached;
}

/** Whether `lease` is being broken, and what follows. */
function look(lease: Watch): void {
  if (deadlines.has(lease.id)) return; // told already
  let target: number = lease.type;
  const held = exclusively(lease.words, () => {
    target = syscalls.fcntl(lease.fd, F_GETLEASE); // during a break: what it must become (kernel-rules: lease-break)
    return target === lease.type ? HELD : BREAKING;
  });
  if (!held || target === lease.type) return;
  if (lease.mapping === undefined ? lease.autoRelease && Atomics.load(lease.words, LISTENERS) === 0 : detach(lease)) {
    release(lease);
    return;
  }
  const deadline = breakTime();
  deadlines.set(lease.id, performance.now() + Math.max(0, deadline - lease.releaseBefore));
  // A copy that could not be made is tried again after each wait, until then; after that the trap is what remains.
  if (lease.mapping === undefined)
    tell({ kind: 'break', id: lease.id, downgradeTo: target === F_RDLCK ? 'read' : 'none', deadline });
}
