/** The socket calls that libuv keeps to itself. */
import { bind, kernelResult, type NativeFunction, type Pointer } from '../libc.js';

let nativeSocket: NativeFunction<[number, number, number]> | undefined;
let nativeSocketpair: NativeFunction<[number, number, number, Int32Array]> | undefined;
let nativeSetsockopt: NativeFunction<[number, number, number, Int32Array | Buffer, number]> | undefined;
let nativeGetsockopt: NativeFunction<[number, number, number, Int32Array, Int32Array]> | undefined;
let nativeRecv: NativeFunction<[number, Pointer, number, number]> | undefined;
let nativeSend: NativeFunction<[number, Pointer, number, number]> | undefined;
const setsockoptPrototype = 'int setsockopt(int fd, int level, int name, void *value, uint length)';
const value = new Int32Array(1);
const valueLength = new Int32Array(1);
const INT_SIZE = 4;

/**
 * `int socket(int domain, int type, int protocol)`
 * @param domain AF_*.
 * @param type SOCK_*.
 * @param protocol 0: the usual one.
 * @returns a descriptor or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/socket.2.html
 */
export function socket(domain: number, type: number, protocol: number): number {
  nativeSocket ??= bind('int socket(int domain, int type, int protocol)');
  return kernelResult(nativeSocket(domain, type, protocol));
}

/**
 * `int socketpair(int domain, int type, int protocol, int sv[2])`: two sockets that are connected to each other.
 * @param fds receives the two descriptors.
 * @returns 0 or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/socketpair.2.html
 */
export function socketpair(domain: number, type: number, protocol: number, fds: Int32Array): number {
  nativeSocketpair ??= bind('int socketpair(int domain, int type, int protocol, void *sv)');
  return kernelResult(nativeSocketpair(domain, type, protocol, fds));
}

/**
 * `int setsockopt(int fd, int level, int name, const int *value, socklen_t 4)`, for options that are integers.
 * @returns 0 or a negative errno: ENOPROTOOPT if the socket has no such option.
 * @see https://man7.org/linux/man-pages/man2/getsockopt.2.html
 */
export function setsockopt(fd: number, level: number, name: number, option: number): number {
  nativeSetsockopt ??= bind(setsockoptPrototype);
  value[0] = option;
  return kernelResult(nativeSetsockopt(fd, level, name, value, INT_SIZE));
}

/**
 * `int setsockopt(int fd, int level, int name, const void *value, socklen_t length)`, for all other options.
 * @returns 0 or a negative errno: ENOPROTOOPT if the socket has no such option.
 * @see https://man7.org/linux/man-pages/man2/getsockopt.2.html
 */
export function setsockoptBytes(fd: number, level: number, name: number, option: Buffer): number {
  nativeSetsockopt ??= bind(setsockoptPrototype);
  return kernelResult(nativeSetsockopt(fd, level, name, option, option.length));
}

/**
 * `int getsockopt(int fd, int level, int name, int *value, socklen_t *4)`, for options that are integers and not negative.
 * @returns the value, or a negative errno: ENOTSOCK, ENOPROTOOPT.
 * @see https://man7.org/linux/man-pages/man2/getsockopt.2.html
 */
export function getsockopt(fd: number, level: number, name: number): number {
  nativeGetsockopt ??= bind('int getsockopt(int fd, int level, int name, void *value, void *length)');
  valueLength[0] = INT_SIZE;
  const result = kernelResult(nativeGetsockopt(fd, level, name, value, valueLength));
  return result < 0 ? result : (value[0] as number);
}

/**
 * `ssize_t recv(int fd, void *buf, size_t size, int flags)`
 * @param size in bytes.
 * @param flags MSG_* flags.
 * @returns bytes received, 0 at the end of the stream, or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/recv.2.html
 */
export function recv(fd: number, buffer: Pointer, size: number, flags: number): number {
  nativeRecv ??= bind('intptr_t recv(int fd, void *buf, size_t size, int flags)');
  return kernelResult(nativeRecv(fd, buffer, size, flags));
}

/**
 * `ssize_t send(int fd, const void *buf, size_t size, int flags)`
 * @param size in bytes.
 * @param flags MSG_* flags: without MSG_NOSIGNAL a closed peer may raise SIGPIPE.
 * @returns bytes taken, which may be fewer, or a negative errno.
 * @see https://man7.org/linux/man-pages/man2/send.2.html
 */
export function send(fd: number, buffer: Pointer, size: number, flags: number): number {
  nativeSend ??= bind('intptr_t send(int fd, void *buf, size_t size, int flags)');
  return kernelResult(nativeSend(fd, buffer, size, flags));
}
