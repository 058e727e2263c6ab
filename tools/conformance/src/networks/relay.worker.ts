/**
 * The stand-in for netem: a thread between two devices that takes every frame of either and sends it out of the other,
 * or loses it, or keeps it for a while, as a seeded generator says. What it does is done to packets of the kernel's own TCP.
 */
import { workerData } from 'node:worker_threads';
import { SyscallError, syscalls } from '@zerocopy/core-syscalls';
import koffi from 'koffi';
import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import {
  DELAY_US,
  FORWARDED,
  JITTER_US,
  LOSS_PPM,
  LOST,
  OVERTAKING,
  REORDER_PPM,
  type RelayData,
  STOP,
} from './relay-control.js';

const AF_PACKET = 17;
const SOCK_RAW = 3;
const ETH_P_ALL_BIG_ENDIAN = 0x0300;
const SOL_PACKET = 263;
const PACKET_IGNORE_OUTGOING = 23;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_RCVBUFFORCE = 33;
const QUEUE_BYTES = 16 * 1024 * 1024;
const MSG_DONTWAIT = 0x40;
const POLLIN = 1;
const ETHERNET_TYPE_OFFSET = 12;
const ETHERNET_TYPE_IPV4 = 0x0800;

const FRAME_MAX = 2048;
/** Frames taken from one side before the other has its turn. */
const BURST = 64;
/** How often at least the thread looks whether it is to stop. */
const POLL_MS = 20;
/** As netem's own limit: more are lost. */
const WAITING_MAX = 20_000;

const { control, seed, devices } = workerData as RelayData;
const library = koffi.load(null);
const bind = library.func('int bind(int fd, void *address, uint length)');
const poll = library.func('int poll(void *fds, ulong count, int timeout)');

const setting = (word: number): number => Atomics.load(control, word);
const count = (word: number): number => Atomics.add(control, word, 1);
const generator = xoroshiro128plus(seed);
const random = (): number => uniformFloat64(generator);
const happens = (word: number): boolean => random() * 1e6 < setting(word);

function checked(result: number, syscall: string): number {
  if (result < 0) throw new SyscallError(result, syscall);
  return result;
}

function openDevice(index: number): number {
  const fd = checked(syscalls.socket(AF_PACKET, SOCK_RAW, 0), 'socket');
  checked(syscalls.setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1), 'setsockopt');
  if (syscalls.setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, QUEUE_BYTES) < 0) {
    syscalls.setsockopt(fd, SOL_SOCKET, SO_RCVBUF, QUEUE_BYTES); // as much of it as a user may have
  }
  const address = Buffer.alloc(20); // struct sockaddr_ll
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16LE(ETH_P_ALL_BIG_ENDIAN, 2);
  address.writeInt32LE(index, 4);
  if (bind(fd, address, address.length) < 0) throw new SyscallError(-koffi.errno(), 'bind');
  return fd;
}

/** A frame on its way. A heap by the time at which it is due, and by the order of arrival where that is the same. */
interface Waiting {
  readonly due: number;
  readonly order: number;
  readonly frame: Buffer;
  readonly out: number;
}

const heap: Waiting[] = [];
const before = (a: Waiting, b: Waiting): boolean => a.due < b.due || (a.due === b.due && a.order < b.order);

function push(waiting: Waiting): void {
  let at = heap.push(waiting) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    const above = heap[parent] as Waiting;
    if (!before(waiting, above)) break;
    heap[at] = above;
    at = parent;
  }
  heap[at] = waiting;
}

function pop(): Waiting {
  const first = heap[0] as Waiting;
  const last = heap.pop() as Waiting;
  if (heap.length === 0) return first;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && before(heap[child + 1] as Waiting, heap[child] as Waiting)) child++;
    if (!before(heap[child] as Waiting, last)) break;
    heap[at] = heap[child] as Waiting;
    at = child;
  }
  heap[at] = last;
  return first;
}

/** A frame that the device does not take is lost, as on any other wire: the link may be down. */
function send(out: number, frame: Buffer, length: number): void {
  count(syscalls.send(out, frame, length, MSG_DONTWAIT) < 0 ? LOST : FORWARDED);
}

let order = 0;

function pass(frame: Buffer, length: number, out: number): void {
  // Addresses are resolved undisturbed: it is TCP that is to be troubled.
  if (frame.readUInt16BE(ETHERNET_TYPE_OFFSET) !== ETHERNET_TYPE_IPV4) return send(out, frame, length);
  if (happens(LOSS_PPM)) return void count(LOST);
  const delay = setting(DELAY_US);
  if (delay === 0) return send(out, frame, length);
  if (happens(REORDER_PPM)) {
    count(OVERTAKING);
    return send(out, frame, length);
  }
  if (heap.length >= WAITING_MAX) return void count(LOST);
  const jitter = setting(JITTER_US) * (2 * random() - 1);
  const due = performance.now() + (delay + jitter) / 1000;
  push({ due, order: order++, frame: Buffer.from(frame.subarray(0, length)), out });
}

const fds = devices.map(openDevice) as [number, number];
const frame = Buffer.alloc(FRAME_MAX);
const polled = Buffer.alloc(16); // two of struct pollfd
for (const [at, fd] of fds.entries()) {
  polled.writeInt32LE(fd, at * 8);
  polled.writeInt16LE(POLLIN, at * 8 + 4);
}

while (setting(STOP) === 0) {
  for (const [at, fd] of fds.entries()) {
    for (let burst = 0; burst < BURST; burst++) {
      const length = syscalls.recv(fd, frame, FRAME_MAX, MSG_DONTWAIT);
      if (length <= 0) break; // nothing there, or the link has just gone down
      pass(frame, length, fds[1 - at] as number);
    }
  }
  const now = performance.now();
  while (heap.length > 0 && (heap[0] as Waiting).due <= now) {
    const { out, frame: due } = pop();
    send(out, due, due.length);
  }
  const next = heap[0];
  poll(polled, 2, next === undefined ? POLL_MS : Math.min(POLL_MS, Math.ceil(next.due - now)));
}
for (const fd of fds) syscalls.close(fd);
