/**
 * libc, found and loaded on first use.
 *
 * The symbols come from the running process itself (dlopen(NULL)), so glibc and musl need no file name.
 * On a platform without the calls, or where koffi has no binary, nothing throws: every bound function
 * answers ENOSYS, and {@link libcStatus} says why.
 */
import { createRequire } from 'node:module';
import { constants as os } from 'node:os';
import type * as Koffi from 'koffi';
import { supportedAbi } from './abi.js';

export type LibcStatus = { readonly available: true } | { readonly available: false; readonly reason: string };

/** An argument for a C pointer: a view's memory, an address, or NULL. The callee may write through it. */
export type Pointer = NodeJS.ArrayBufferView | number | bigint | null;

type Argument = Pointer | string;

/** A C function bound by koffi, with the asynchronous form that runs on libuv's thread pool. */
export interface NativeFunction<Arguments extends Argument[]> {
  (...args: Arguments): number;
  async(...args: [...Arguments, callback: (error: Error | null, result: number) => void]): void;
}

interface Loaded {
  readonly koffi: typeof Koffi;
  readonly library: Koffi.LibraryHandle;
}

const ENOSYS = os.errno.ENOSYS ?? 38;

let loaded: Loaded | undefined;
/** This thread's errno itself, where it can be had. */
let errno: Int32Array | undefined;
let status: LibcStatus | undefined;

function load(): LibcStatus {
  if (process.platform !== 'linux') {
    return { available: false, reason: `the calls exist on Linux only; this is ${process.platform}` };
  }
  if (supportedAbi === undefined) {
    return {
      available: false,
      reason: `no system-call table for the architecture ${process.arch} (x64 and arm64 have one)`,
    };
  }
  try {
    const koffi = createRequire(import.meta.url)('koffi') as typeof Koffi;
    const library = koffi.load(null);
    loaded = { koffi, library };
    errno = errnoCell(koffi, library);
    return { available: true };
  } catch (error) {
    return {
      available: false,
      reason: `koffi cannot be loaded: ${error instanceof Error ? error.message : String(error)}`,
    };
  }
}

/** Whether system calls can be made at all in this process, and why not. Loads libc on the first call. Never throws. */
export function libcStatus(): LibcStatus {
  status ??= load();
  return status;
}

/**
 * The memory of errno, to be read without a call. A garbage collection that comes between a failed call and the look at
 * its errno leaves the errno of its own calls there (seen as EAGAIN with Node 26, as ENOMEM with Node 20): the fewer
 * functions are entered in between, the fewer there are that it could come in.
 */
function errnoCell(koffi: typeof Koffi, library: Koffi.LibraryHandle): Int32Array | undefined {
  try {
    const location = library.func('void *__errno_location(void)'); // glibc and musl
    return new Int32Array(koffi.view(location(), Int32Array.BYTES_PER_ELEMENT));
  } catch {
    return undefined;
  }
}

/** The errno of the last failed call on this thread. */
function lastErrno(): number {
  return loaded === undefined ? ENOSYS : loaded.koffi.errno();
}

/** Puts something in front of a function that has been bound: what it returns is called instead. */
export type BindingWrapper = <Arguments extends Argument[]>(
  native: NativeFunction<Arguments>,
  prototype: string,
) => NativeFunction<Arguments>;

let wrapper: BindingWrapper | undefined;

/**
 * For tests: every function that is bound from now on, in this thread, goes through `wrap`. So faults can be put in front of
 * each system call, and nothing is asked at any call where nobody has: functions are bound once, on first use.
 * To be called before the first of them.
 */
export function wrapBindings(wrap: BindingWrapper | undefined): void {
  wrapper = wrap;
}

function missing<Arguments extends Argument[]>(): NativeFunction<Arguments> {
  const call = (): number => -1;
  const async = (...args: unknown[]): void => {
    const callback = args.at(-1) as (error: Error | null, result: number) => void;
    setImmediate(callback, null, -1);
  };
  return Object.assign(call, { async });
}

/**
 * Binds one C function by its prototype, for instance `int close(int fd)`.
 * A function that this libc does not have answers -1 and ENOSYS, like a kernel without the call.
 */
export function bind<Arguments extends Argument[]>(prototype: string): NativeFunction<Arguments> {
  if (!libcStatus().available || loaded === undefined) return missing();
  try {
    const native = keepingArguments(loaded.library.func(prototype) as unknown as NativeFunction<Arguments>);
    return wrapper === undefined ? native : wrapper(native, prototype);
  } catch {
    const stub = missing<Arguments>();
    const { koffi } = loaded;
    const call = (): number => {
      koffi.errno(ENOSYS);
      return -1;
    };
    return Object.assign(call, { async: stub.async });
  }
}

/**
 * koffi keeps no reference to the memory of an asynchronous call: a view that nobody else holds is collected while a
 * thread writes to it. So everything that was passed is held here until the callback.
 */
function keepingArguments<Arguments extends Argument[]>(native: NativeFunction<Arguments>): NativeFunction<Arguments> {
  const { async: start } = native;
  native.async = (...args) => {
    const callback = args.at(-1) as (error: Error | null, result: number) => void;
    const held: unknown[] = args;
    held[args.length - 1] = (error: Error | null, result: number) => {
      held.length = 0;
      callback(error, result);
    };
    start(...args);
  };
  return native;
}

/** The kernel's convention from libc's: the result, or the negative errno. No object is made. */
export function kernelResult(result: number): number {
  return result < 0 ? -(errno?.[0] ?? lastErrno()) : result;
}

/** {@link kernelResult} for the callback of an asynchronous call: koffi's errno is valid there (koffi 3.2 and later). */
export function asyncResult(callback: (result: number) => void): (error: Error | null, result: number) => void {
  return (error, result) => callback(error === null ? kernelResult(result) : -ENOSYS);
}

/** The address of a view's first byte. The caller keeps the view alive for as long as the address is used. */
export function addressOf(view: NodeJS.ArrayBufferView): number {
  return loaded === undefined && !libcStatus().available ? 0 : Number((loaded as Loaded).koffi.address(view));
}

/**
 * The memory at `address` as an ArrayBuffer, without a copy. Whoever asks sees to it that it stays mapped for as long as
 * the buffer, or any view of it, is used.
 */
export function memoryAt(address: number, length: number): ArrayBuffer {
  if (loaded === undefined && !libcStatus().available) throw new Error('there is no memory to look at without libc');
  return (loaded as Loaded).koffi.view(address, length);
}
