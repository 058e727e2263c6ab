/** For this project's own packages: what they share besides system calls. Not covered by semantic versioning. */

export { type BindingWrapper, memoryAt, type NativeFunction, wrapBindings } from './libc.js';
export { systemLimits } from './probe/report.js';
export { readOptions } from './read-options.js';
export { closeUnwritten } from './streams/close-unwritten.js';
export { descriptorOf, OwnedDescriptor } from './streams/descriptor.js';
export { socketOver } from './streams/owned-socket.js';
export { PipedDestination } from './streams/piped-destination.js';
export { type TakenSocket, takeSocketForReading } from './streams/read-takeover.js';
export {
  type BodyFraming,
  bodyFraming,
  countsItsBody,
  isAwaitingSocket,
  isEncrypted,
  isEndedByPipeline,
  isOutgoingMessage,
  isPausedByHttp,
  isSocket,
  isWritePatched,
  socketDescriptor,
  socketOfMessage,
  withoutBodyListener,
} from './streams/socket-internals.js';
export {
  hasPlainQueue,
  requestWriteTurn,
  type TurnHandlers,
  type TurnRequest,
  type WriteTurn,
  whileUncorked,
} from './streams/write-turn.js';
export { uninterrupted, uninterruptedAsync, untilMoved } from './syscalls/uninterrupted.js';
export { type OffThreadCall, runOffThread } from './transfer/off-thread.js';
export { activeTransfers, pieceSize, quantumSize } from './transfer/quantum.js';
export { type ReadCallback, readRetrying } from './transfer/read-retrying.js';
export { abortError, codeOf, TransferError, type TransferErrorOptions, transferError } from './transfer/result.js';
export {
  COLD,
  FULL,
  type Resume,
  SOURCE_ENDED,
  Transfer,
  type TransferEngine,
  type TransferOptions,
  type TransferState,
} from './transfer/transfer.js';
