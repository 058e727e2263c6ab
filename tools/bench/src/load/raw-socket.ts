/** TCP sockets that Node knows nothing of: connected and closed by the system calls, for a client that polls. */
import { createRequire } from 'node:module';
import { check, constants, syscalls } from '@zerocopy/core-syscalls';

const AF_INET = 2;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const LOOPBACK = [127, 0, 0, 1];

interface Libc {
  socket(domain: number, type: number, protocol: number): number;
  connect(fd: number, address: Uint8Array, length: number): number;
  setsockopt(fd: number, level: number, name: number, value: Int32Array, length: number): number;
  close(fd: number): number;
}

let libc: Libc | undefined;

function load(): Libc {
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
  const library = koffi.load(null);
  return {
    socket: library.func('int socket(int domain, int type, int protocol)'),
    connect: library.func('int connect(int fd, const uint8_t *address, uint32_t length)'),
    setsockopt: library.func('int setsockopt(int fd, int level, int name, const int32_t *value, uint32_t length)'),
    close: library.func('int close(int fd)'),
  } as unknown as Libc;
}

/** A descriptor connected to `port` on this machine, Nagle's algorithm off; whoever asks closes it. Blocks for the handshake. */
export function connectTo(port: number): number {
  libc ??= load();
  const fd = libc.socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) throw new Error('socket(2) failed: are there too many open descriptors?');
  // struct sockaddr_in, ip(7): the family in the machine's order (little-endian here), port and address in the network's.
  const address = Uint8Array.from([AF_INET, 0, port >> 8, port & 0xff, ...LOOPBACK, ...new Array(8).fill(0)]);
  libc.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, Int32Array.of(1), 4);
  if (libc.connect(fd, address, address.length) === 0) return fd;
  libc.close(fd);
  throw new Error(`connect(2) to port ${port} failed`);
}

/** @param fd of {@link connectTo}. */
export function closeSocket(fd: number): void {
  libc?.close(fd);
}

const { EAGAIN, EINTR, MSG_DONTWAIT, MSG_NOSIGNAL } = constants;

/** Bytes received; -1 if nothing is there yet; 0 at the end. @param flags besides MSG_DONTWAIT */
export function receive(fd: number, into: Uint8Array, size: number, flags: number): number {
  const received = syscalls.recv(fd, into, size, MSG_DONTWAIT | flags);
  if (received >= 0) return received;
  if (received !== -EAGAIN && received !== -EINTR) check(received, 'recv');
  return -1;
}

/** Bytes taken by the socket, or -1 if it is full. */
export function transmit(fd: number, bytes: Uint8Array, size: number): number {
  const sent = syscalls.send(fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent >= 0) return sent;
  if (sent !== -EAGAIN && sent !== -EINTR) check(sent, 'send');
  return -1;
}
