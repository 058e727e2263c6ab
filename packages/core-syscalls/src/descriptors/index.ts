/** For this project's own packages: the descriptors under streams, and what is known of the files behind them. Not covered by semantic versioning. */
export { closeQuietly } from './close-quietly.js';
export { closesAtOnce } from './closes-at-once.js';
export { closesOnThread } from './closes-on-thread.js';
export { descriptorOf, OwnedDescriptor } from './descriptor.js';
export { directIoRefusal } from './direct-io-refusal.js';
export { type FileFacts, factsOf, isBlockDevice, isDirectory, isPollable, isRegularFile } from './file-facts.js';
export { fileIdentity, fileStatus } from './file-status.js';
export {
  type Filesystem,
  type FilesystemKind,
  filesystemOf,
  filesystemOfMagic,
  isLocalFilesystem,
  mappingPageSize,
} from './filesystem.js';
export { isMainThread, nodeThreads } from './node-threads.js';
export { factsOfCached, identityOfCached, nameOfDescriptor, type OpenedFile, openLocalCached } from './open-seen.js';
export {
  addSpareDescriptors,
  freeSpareDescriptors,
  type SpareDescriptors,
  withSpareDescriptors,
} from './spare-descriptors.js';
export {
  isEncrypted,
  isOutgoingMessage,
  isSocket,
  nodeHttp,
  socketDescriptor,
  socketOfMessage,
} from './stream-descriptor.js';
