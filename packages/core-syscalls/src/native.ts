/** For this project's own packages and their tests: C functions, memory, EINTR. Not covered by semantic versioning. */
export { type KoffiLocation, koffiLocation, useKoffi } from './koffi.js';
export { addressOf, type BindingWrapper, memoryAt, type NativeFunction, wrapBindings } from './libc.js';
export { systemLimits } from './probe/report.js';
export { uninterrupted, uninterruptedAsync, untilMoved } from './syscalls/uninterrupted.js';
