/** For this project's own packages: what moving bytes has in common. Not covered by semantic versioning. */

export { TransferError, type TransferMethod, type TransferResult } from '@zerocopy/core-syscalls';
export {
  closeQuietly,
  descriptorOf,
  isEncrypted,
  isOutgoingMessage,
  isSocket,
  OwnedDescriptor,
  socketDescriptor,
  socketOfMessage,
} from '@zerocopy/core-syscalls/descriptors';
export { BulkGauge } from './bulk-gauge.js';
export { CacheDrop, type CachePolicy } from './cache-drop.js';
export { closeUnwaited } from './close-unwaited.js';
export { addSummary } from './debug-summary.js';
export {
  abortError,
  closedEarly,
  codeOf,
  endedEarly,
  isConnectionCode,
  KernelPathUnavailableError,
  type Side,
  transferError,
} from './errors.js';
export { type FileSlotHandlers, FileSlotRequest, type FileWriter, type FileWriteSlot } from './file-write-slot.js';
export { writeEachChunk } from './flowing-pipe.js';
export { MethodRecord } from './method-record.js';
export { replacedMethod } from './node-originals.js';
export { callOffThread, type OffThreadCall, type OffThreadWait, runOffThread, threadPoolSize } from './off-thread.js';
export { closeIfOpenedTooLate } from './opened-too-late.js';
export {
  copyOptions,
  invalidArgument,
  isFileHandle,
  isPath,
  isURL,
  outOfRange,
  pathText,
  readOptions,
  TIMER_MAX,
  timeoutOf,
  validateBoolean,
  validateBytes,
  validateChoice,
  validateCount,
  validateFunction,
  validateInteger,
  validatePath,
  validateRange,
  validateSignal,
} from './options.js';
export { socketOver } from './owned-socket.js';
export { dropPages, writeBack } from './page-cache.js';
export { assertOpenPermitted, assertPathPermitted } from './path-permission.js';
export { PipeRoute } from './pipe-route.js';
export { otherReader, PipeWatch } from './pipe-watch.js';
export { activeTransfers, COPY_SIZE, pieceSize, quantumSize } from './quantum.js';
export { type ReadCallback, readRetrying } from './read-retrying.js';
export { describeRefusal, type Refusal, refusalOf } from './refusals.js';
export { SlotTransfer } from './slot-transfer.js';
export type { SlotDestination, SlotEngine, SlotOutcome, SlotTransferOptions } from './slot-transfer-options.js';
export {
  type BodyFraming,
  bodyFraming,
  countsItsBody,
  hasOnRead,
  isAwaitingSocket,
  isConsumedByParser,
  isEncryptedByNode,
  isEndedByPipeline,
  isPausedByHttp,
  isStandardOutput,
  isWritePatched,
  pipesOf,
  soleParserListener,
  startReading,
  unsentBytes,
  withoutBodyListener,
} from './socket-internals.js';
export { closeByReset } from './socket-reset.js';
export { type TakenSocket, takeSocketForReading } from './socket-takeover.js';
export { failureOf, isCancelledWrite } from './stream-failure.js';
export { addSharedListener, removeSharedListener, type SharedEvent } from './stream-listeners.js';
export {
  endKindOf,
  isToldByDestination,
  kTellsOf,
  reasonOfDestruction,
  type StreamCount,
  StreamScope,
  type TellsOf,
} from './stream-scope.js';
export {
  clearInterval,
  clearTimeout,
  nextTick,
  setImmediate,
  setInterval,
  setTimeout,
} from './timers.js';
export {
  NOT_RESIDENT,
  type Resume,
  SOURCE_ENDED,
  Transfer,
  type TransferEngine,
  type TransferOptions,
  type TransferState,
  WOULD_BLOCK,
} from './transfer.js';
export type { TransferCounts } from './transfer-counters.js';
export { countTransfer, isObserved, type TransferAbout, TransferScope, transferCounts } from './transfer-scope.js';
export { hasPlainQueue, whileUncorked } from './write-queue.js';
export { requestWriteSlot, type SlotHandlers, type SlotRequest, type WriteSlot } from './write-slot.js';
