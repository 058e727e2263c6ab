/** For this project's own packages: the descriptors under streams. Not covered by semantic versioning. */
export { closeQuietly } from './close-quietly.js';
export { descriptorOf, OwnedDescriptor } from './descriptor.js';
export { type FileFacts, factsOf, isPollable, isRegularFile } from './file-facts.js';
export {
  type Filesystem,
  type FilesystemKind,
  filesystemOf,
  filesystemOfMagic,
  isLocalFilesystem,
  mappingPageSize,
} from './filesystem.js';
export { closesAtOnce, nameOfDescriptor, type OpenedFile, openLocalCached } from './open-seen.js';
export {
  isEncrypted,
  isOutgoingMessage,
  isSocket,
  nodeHttp,
  socketDescriptor,
  socketOfMessage,
} from './stream-descriptor.js';
