/**
 * A file into a file, beneath a pipe: by copy_file_range, splice, or read and write on other threads, in a slot of the
 * writer's queue (see PipeRoute of @zerocopy/transfer, and FileSlotRequest). Both streams may be anybody's.
 *
 * Whatever fails, Node goes on at the byte that has been reached, and meets the failure itself.
 */
import fs, { type WriteStream } from 'node:fs';
import { constants, syscalls, type TransferMethod } from '@zerocopy/core-syscalls';
import { factsOf, fileIdentity, fileStatus, isRegularFile } from '@zerocopy/core-syscalls/descriptors';
import { CopyEngine } from '@zerocopy/file-copy/route';
import type { FileReader } from '@zerocopy/sendfile-stream/route';
import { isFileWriter, refusalOfWriter } from '@zerocopy/splice-pipe/route';
import {
  closedEarly,
  type FileSlotHandlers,
  FileSlotRequest,
  type FileWriter,
  type FileWriteSlot,
  OwnedDescriptor,
  PipeRoute,
  Transfer,
} from '@zerocopy/transfer';
import {
  FREE_READER_METHODS,
  isKernelDescriptor,
  NOT_KERNELS,
  READER_METHODS,
  refusalOfReader,
} from './file-reader.js';
import { refusalOfWriterFs } from './node-files.js';
import type { PairRecord } from './pair-record.js';

const { F_GETFL, O_APPEND, SEEK_CUR, SEEK_SET } = constants;

/** The part of a file that is to be copied. */
interface Part {
  /** The first byte. */
  readonly from: number;
  /** How many bytes; 0: there is nothing more. */
  readonly length: number;
}

class FileToFileRoute extends PipeRoute<FileReader> {
  readonly #minBytes: number;
  readonly #record: PairRecord;
  #isChecked = false;
  #hasCopied = false;
  #slot: FileSlotRequest | undefined;
  #transfer: Transfer | undefined;
  /** The source's file, for as long as something is under way. */
  #own: OwnedDescriptor | undefined;

  constructor(source: FileReader, destination: FileWriter, record: PairRecord, minBytes: number) {
    super(source, destination, record);
    this.#record = record;
    this.#minBytes = minBytes;
  }

  protected override begin(): string | undefined {
    const { source } = this;
    const { writableEnded, destroyed, writableCorked } = this.destination as unknown as FileWriter;
    if (writableEnded || destroyed) return 'the destination has ended';
    if (writableCorked > 0) return 'the destination is corked';
    const fd = source.fd as number;
    if (!this.#isChecked) {
      const refused = refusalOfReader(source, READER_METHODS);
      if (refused !== undefined) return refused;
      if (!isKernelDescriptor(fd, source.path)) return NOT_KERNELS;
      this.#isChecked = true;
    }
    const part = partOf(source, fd);
    if (typeof part === 'string') return part;
    if (part.length === 0 && this.#hasCopied) {
      this.end();
      return undefined;
    }
    if (part.length < this.#minBytes) return `fewer than ${this.#minBytes} bytes are left to Node`;
    const own = OwnedDescriptor.tryDuplicate(fd);
    if (own === null) return 'the descriptor cannot be duplicated';
    this.#own = own;
    this.hold();
    this.#request(own, part);
    return undefined;
  }

  protected override stop(): void {
    if (this.#transfer !== undefined) {
      const { source } = this;
      const { destroyed, errored } = this.destination as unknown as WriteStream;
      // Unpiped because one of the two is gone: nobody moves the rest.
      if (source.destroyed) return this.#transfer.stop(source.errored ?? closedEarly('source', 0));
      if (destroyed) return this.#transfer.stop(errored ?? closedEarly('destination', 0));
      return this.#transfer.stop(null, this.record.fallbackReason ?? 'the pipe was left');
    }
    this.#slot?.cancel();
    this.#over();
    this.handBack();
  }

  #request(own: OwnedDescriptor, part: Part): void {
    const handlers: FileSlotHandlers = {
      begin: (slot) => this.#copy(own, part, slot),
      refused: (reason) => this.leave(reason),
      lost: (error) => this.#onLost(error),
      crowded: () => this.leave('other code uses the destination'),
    };
    this.#slot = new FileSlotRequest(this.destination as unknown as FileWriter, handlers);
  }

  #copy(own: OwnedDescriptor, { from, length }: Part, slot: FileWriteSlot): void {
    const { path } = this.destination as unknown as WriteStream;
    const refused = this.moving ? refusalOfSlot(slot, own.fd, path) : 'the pipe was left';
    if (refused !== undefined) {
      slot.end();
      this.leave(refused);
      return;
    }
    const to = slot.position ?? syscalls.lseek(slot.fd, 0, SEEK_CUR);
    const engine = new CopyEngine({
      source: own.fd,
      destination: slot.fd,
      sourceStart: from,
      destinationStart: to,
      size: length,
      sparse: false,
      unshared: undefined,
      clone: false,
      sequential: undefined,
      prepare: async () => {},
      finish: async () => {},
    });
    let moved = 0;
    this.record.goes(engine.method as TransferMethod);
    this.#transfer = new Transfer({
      engine,
      length,
      onMoved: (bytes) => {
        moved += bytes;
        slot.moved(bytes);
        this.#advance(bytes);
      },
      about: {
        source: 'file',
        destination: 'file',
        detail: { source: this.source.path, destination: (this.destination as unknown as FileWriter).path },
      },
      onEnd: (error, result) => {
        engine.close();
        // Descriptors without a start have a position of their own, which reading and writing would have moved.
        if (this.source.pos === undefined) syscalls.lseek(own.fd, from + moved, SEEK_SET);
        if (slot.position === undefined) syscalls.lseek(slot.fd, to + moved, SEEK_SET);
        this.#over();
        slot.end();
        if (!this.left) this.record.goes(result.method, result.fallbackReason);
        if (error === null && result.bytes === length && !this.left) {
          this.#hasCopied = true;
          this.askAgain();
        } else if ((this.destination as unknown as FileWriter).destroyed) this.lose();
        else this.handBack();
      },
    });
    this.#transfer.start();
  }

  #advance(bytes: number): void {
    this.source.bytesRead += bytes;
    if (this.source.pos !== undefined) this.source.pos += bytes;
    this.#record.moved(bytes);
  }

  #onLost(error: Error | null): void {
    if (this.#transfer !== undefined) this.#transfer.lost(error ?? new Error('the destination was closed'));
    else {
      this.#over();
      this.lose();
    }
  }

  #over(): void {
    this.#transfer = undefined;
    this.#slot = undefined;
    this.#own?.close();
    this.#own = undefined;
  }
}

/** What is left to be read, or why that is not known. */
function partOf(source: FileReader, fd: number): Part | string {
  const facts = factsOf(fd);
  if (!isRegularFile(facts)) return 'the source is not a regular file';
  if (facts.size === 0 || (facts.blocks === 0 && facts.filesystem.kind === 'pseudo'))
    return 'the file is empty, or its size is not known';
  const from = source.pos ?? syscalls.lseek(fd, 0, SEEK_CUR);
  if (from < 0) return 'the position in the file is not known';
  const last = source.pos === undefined ? from + source.end - source.bytesRead : source.end;
  return { from, length: Math.max(0, Math.min(facts.size, last + 1) - from) };
}

/** Why nothing can be copied into the file of `slot` from `fd`, or undefined. */
function refusalOfSlot(slot: FileWriteSlot, fd: number, path: unknown): string | undefined {
  const flags = syscalls.fcntl(slot.fd, F_GETFL);
  if (flags < 0 || (flags & O_APPEND) !== 0) return 'the file is open for appending';
  if (!isKernelDescriptor(slot.fd, path)) return NOT_KERNELS;
  if (!isRegularFile(fileStatus(slot.fd))) return 'the destination is not a regular file';
  return fileIdentity(slot.fd) === fileIdentity(fd) ? 'source and destination are the same file' : undefined;
}

/** Lays the route. @returns why not. */
export function routeFileToFile(
  source: FileReader,
  destination: NodeJS.WritableStream,
  record: PairRecord,
  minBytes: number,
): string | undefined {
  if (!(source instanceof fs.ReadStream)) return 'the source only looks like an fs.ReadStream';
  if (!isFileWriter(destination)) return 'the destination only looks like an fs.WriteStream';
  const writer = destination as unknown as WriteStream;
  const refused = refusalOfReader(source, FREE_READER_METHODS) ?? refusalOfWriter(writer) ?? refusalOfWriterFs(writer);
  if (refused !== undefined) return refused;
  new FileToFileRoute(source as unknown as FileReader, destination, record, minBytes).attach();
  return undefined;
}
