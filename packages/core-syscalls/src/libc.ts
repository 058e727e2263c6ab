/**
 * libc, found and loaded on first use.
 *
 * The symbols come from the running process itself (dlopen(NULL)), so glibc and musl need no file name.
 * On a platform without the calls, or where koffi has no binary, nothing throws: every bound function
 * answers ENOSYS, and {@link libcStatus} says why.
 */
import { constants as os } from 'node:os';
import type * as Koffi from 'koffi';
import { supportedAbi } from './abi.js';
import { loadKoffi } from './koffi.js';

/** Whether system calls can be made in this process. Where they cannot, every call answers -ENOSYS. */
export type LibcStatus =
  | { readonly available: true }
  | {
      readonly available: false;
      /** Why not, in words. */
      readonly reason: string;
    };

/** An argument for a C pointer: the memory of a view, an address, or null for NULL. The callee may write through it. */
export type Pointer = NodeJS.ArrayBufferView | number | bigint | null;

type Argument = Pointer | string;

/** A C function, bound by koffi. */
export interface NativeFunction<Arguments extends Argument[]> {
  /** Calls it on this thread, and returns what it returns. */
  (...args: Arguments): number;
  /** Calls it on libuv's thread pool, then calls back. The views that were passed are kept until then. */
  async(...args: [...Arguments, callback: (error: Error | null, result: number) => void]): void;
}

interface Loaded {
  readonly koffi: typeof Koffi;
  readonly library: Koffi.LibraryHandle;
}

const ENOSYS = os.errno.ENOSYS ?? 38;
/** Captured, so that timers which a test mocks later cannot hold back a result. */
const { setImmediate } = globalThis;

let loaded: Loaded | undefined;
/** The memory of this thread's errno; undefined where its address is not known. */
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
  // A number that one side has opened is another file, or none, for the other side.
  if ('deno' in process.versions) {
    return {
      available: false,
      reason: 'Deno numbers open files by itself: they are not the descriptors of the kernel',
    };
  }
  try {
    const koffi = loadKoffi() as typeof Koffi;
    const library = koffi.load(null);
    loaded = { koffi, library };
    errno = errnoCell(koffi, library);
    return { available: true };
  } catch (error) {
    // The first line: Node lists the modules that have asked below it.
    const [why] = (error instanceof Error ? error.message : String(error)).split('\n');
    const reason = `koffi cannot be loaded: ${why}`;
    warn(reason);
    return { available: false, reason };
  }
}

const kWarned: unique symbol = Symbol.for('zerocopy.koffiWarning.1');

/** Once in a thread, also where there are several copies of this package: a build that has lost koffi is not seen otherwise. */
function warn(reason: string): void {
  const holder = process as typeof process & { [kWarned]?: true };
  if (holder[kWarned] === true || process.env.ZEROCOPY_DISABLE === 'all') return;
  Object.defineProperty(holder, kWarned, { value: true });
  process.emitWarning(`zerocopy copies bytes in JavaScript, since ${reason}`, {
    code: 'ZEROCOPY_NO_KOFFI',
    detail:
      'A bundle needs koffi in a node_modules beside it, or its addon as koffi.node: ' +
      'https://github.com/zerocopy-node/zerocopy/blob/main/docs/builds.md. ZEROCOPY_DISABLE=all says that this is meant.',
  });
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

/**
 * Puts something in front of a function that has been bound.
 * @param prototype in C, for instance `int close(int fd)`.
 * @returns what is called instead.
 */
export type BindingWrapper = <Arguments extends Argument[]>(
  native: NativeFunction<Arguments>,
  prototype: string,
) => NativeFunction<Arguments>;

/** Under a registered symbol, so that it reaches every copy of this package in this thread. */
const kWrapper: unique symbol = Symbol.for('zerocopy.bindingWrapper.1');
const wrapperHolder = globalThis as typeof globalThis & { [kWrapper]?: BindingWrapper | undefined };

/**
 * For tests, which put faults in front of system calls: every function that is bound from now on, in this thread, goes
 * through `wrap`. Functions are bound once, on their first use: so it must be called before that, and a program that
 * does not call it pays nothing.
 * @param wrap undefined takes it back, for functions that are not yet bound.
 */
export function wrapBindings(wrap: BindingWrapper | undefined): void {
  wrapperHolder[kWrapper] = wrap;
}

/** In the place of a function that cannot be called: -1 with the errno ENOSYS, like a kernel without the call. */
function missing<Arguments extends Argument[]>(): NativeFunction<Arguments> {
  const call = (): number => {
    loaded?.koffi.errno(ENOSYS);
    return -1;
  };
  const async = (...args: unknown[]): void => {
    const callback = args.at(-1) as (error: Error | null, result: number) => void;
    setImmediate(() => callback(null, call()));
  };
  return Object.assign(call, { async });
}

/**
 * Binds one C function by its prototype, for instance `int close(int fd)`. One that this libc does not have is
 * {@link missing}. Never throws.
 */
export function bind<Arguments extends Argument[]>(prototype: string): NativeFunction<Arguments> {
  if (!libcStatus().available || loaded === undefined) return missing();
  try {
    const native = keepingArguments(loaded.library.func(prototype) as unknown as NativeFunction<Arguments>);
    const wrapper = wrapperHolder[kWrapper];
    return wrapper === undefined ? native : wrapper(native, prototype);
  } catch {
    return missing();
  }
}

/**
 * koffi keeps no reference to the memory of an asynchronous call: a view without another reference is collected while a
 * thread writes to it. So everything that was passed is kept here until the callback.
 */
function keepingArguments<Arguments extends Argument[]>(native: NativeFunction<Arguments>): NativeFunction<Arguments> {
  const { async: start } = native;
  native.async = (...args) => {
    const callback = args.at(-1) as (error: Error | null, result: number) => void;
    const kept: unknown[] = args;
    kept[args.length - 1] = (error: Error | null, result: number) => {
      kept.length = 0;
      callback(error, result);
    };
    start(...args);
  };
  return native;
}

/**
 * Turns libc's convention into the kernel's. No object is made (kernel-rules: no-error-per-eagain).
 * @returns `result`, or the negative errno where it is negative.
 */
export function kernelResult(result: number): number {
  return result < 0 ? -(errno?.[0] ?? lastErrno()) : result;
}

/**
 * {@link kernelResult} for the callback of an asynchronous call: this thread's errno is that of the call there
 * (koffi 3.2 and later).
 */
export function asyncResult(callback: (result: number) => void): (error: Error | null, result: number) => void {
  return (error, result) => callback(error === null ? kernelResult(result) : -ENOSYS);
}

/** koffi, if libc could be loaded. */
function koffiIfLoaded(): typeof Koffi | undefined {
  if (loaded === undefined) libcStatus();
  return loaded?.koffi;
}

/**
 * The address of a view's first byte; 0 without libc. The caller keeps the view alive for as long as the address is
 * used.
 */
export function addressOf(view: NodeJS.ArrayBufferView): number {
  return Number(koffiIfLoaded()?.address(view) ?? 0);
}

/**
 * The memory at `address` as an ArrayBuffer, without a copy. The caller keeps it mapped for as long as the buffer, or
 * any view of it, is used.
 * @param length in bytes.
 * @throws {Error} without libc.
 */
export function memoryAt(address: number, length: number): ArrayBuffer {
  const koffi = koffiIfLoaded();
  if (koffi === undefined) throw new Error('there is no memory to look at without libc');
  return koffi.view(address, length);
}
