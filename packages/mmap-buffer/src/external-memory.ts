/**
 * ArrayBuffers over mapped memory, and when the last of them is gone.
 *
 * An ArrayBuffer can be detached: by a byte ReadableStream on every Node, by `transfer()` since 22. Its memory then belongs
 * to an ArrayBuffer that this package has never seen, and a FinalizationRegistry on the first one tells of its death too
 * early (kernel-rules: detached-views). Only the finalizer of the memory itself, which Node-API has and JavaScript has
 * not, tells when no ArrayBuffer is left. So there is one function of native code, made as the SIGBUS trap is: it is
 * written to a memory file and loaded from there; nothing is compiled or installed.
 *
 * Where it cannot be loaded (an architecture without it, no /proc, a sandbox), the death of the first ArrayBuffer is all
 * that there is to know, and its memory has to stay mapped for ever: {@link MemoryUser.forgotten}.
 */
import { constants, syscalls } from '@zerocopy/core-syscalls';
import { memoryAt, untilMoved } from '@zerocopy/core-syscalls/native';
import { externalMemoryCode } from './external-memory-code.js';

/** Who is told about an ArrayBuffer over its memory. Either is called once, from the event loop. */
export interface MemoryUser {
  /** No ArrayBuffer over the memory is left. */
  freed(): void;
  /** The ArrayBuffer is gone; another one, to which it was transferred, may be there for as long as the process. */
  forgotten(): void;
}

type View = (address: number, length: number, onFreed: () => void) => ArrayBuffer | undefined;

let view: View | null | undefined;

function load(): View | null {
  const code = externalMemoryCode(process.arch);
  if (code === undefined) return null;
  const fd = syscalls.memfdCreate('zerocopy-external-memory', constants.MFD_CLOEXEC);
  if (fd < 0) return null;
  try {
    const written = untilMoved(code.length, (done) => syscalls.write(fd, code.subarray(done), code.length - done));
    if (written !== code.length) return null;
    const loaded: { exports: unknown } = { exports: {} };
    // By a path that no other library is loaded by: the loader knows libraries by their paths, and numbers are used again.
    process.dlopen(loaded, `/proc/self/task/../fd/${fd}`);
    return typeof loaded.exports === 'function' ? (loaded.exports as View) : null;
  } catch {
    return null;
  } finally {
    syscalls.close(fd);
  }
}

// Module-level and used by every ArrayBuffer: it stays alive (kernel-rules: strong-finalizers).
const forgotten = new FinalizationRegistry<MemoryUser>((user) => user.forgotten());

/** Whether {@link MemoryUser.freed} is what users are told: then memory stays what it is for as long as it can be seen. */
export function isMemoryTracked(): boolean {
  view ??= load();
  return view !== null;
}

/** The memory at `address` as an ArrayBuffer, which `user` sees to stay mapped until it is told. `length` is in bytes. */
export function externalMemory(address: number, length: number, user: MemoryUser): ArrayBuffer {
  const external = isMemoryTracked() ? view?.(address, length, () => user.freed()) : undefined;
  if (external !== undefined) return external;
  const memory = memoryAt(address, length);
  forgotten.register(memory, user);
  return memory;
}
