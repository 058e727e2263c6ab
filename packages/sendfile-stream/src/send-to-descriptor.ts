/** A file to a descriptor: of another file, or of a socket or pipe, over which a stream of our own brings the waiting. */
import type { Socket } from 'node:net';
import { type EndKind, libcStatus, type TransferResult } from '@zerocopy/core-syscalls';
import { factsOf, isPollable } from '@zerocopy/core-syscalls/descriptors';
import { type OwnedDescriptor, socketOver, TransferError, transferError } from '@zerocopy/transfer';
import type { OutFile } from './file-engine.js';
import { duplicate } from './open-file.js';
import { planOf, runJob, type SendJob } from './send-job.js';
import { sendToStream } from './send-to-stream.js';

/** A descriptor of the caller's, to be written to: duplicated at once, since they may close it in the same tick. */
export class DescriptorDestination {
  /** Null: it is not open. */
  readonly fd: number | null;
  /** Undefined where there are no system calls. */
  readonly own: OwnedDescriptor | undefined;

  constructor(fd: number | null) {
    this.fd = fd;
    this.own = fd !== null && libcStatus().available ? duplicate(fd) : undefined;
  }
}

/** @param fd open until the promise settles. */
export async function sendToDescriptor(
  fd: number | DescriptorDestination,
  job: SendJob,
  kind: EndKind = 'file',
): Promise<TransferResult> {
  if (typeof fd !== 'number') return sendToDuplicate(fd, job, kind);
  const destination = new DescriptorDestination(fd);
  try {
    return await sendToDuplicate(destination, job, kind);
  } finally {
    destination.own?.close();
  }
}

function sendToDuplicate({ fd, own }: DescriptorDestination, job: SendJob, kind: EndKind): Promise<TransferResult> {
  if (fd === null) {
    throw new TransferError('the destination is not an open descriptor', { code: 'EBADF', bytes: 0 });
  }
  if (own !== undefined && isPollable(factsOf(own.fd))) return sendToSocketDescriptor(own, job);
  const out: OutFile = own ?? { fd };
  return runJob(job, { target: { out, kind }, plan: planOf(job, undefined, undefined) });
}

async function sendToSocketDescriptor(own: OwnedDescriptor, job: SendJob): Promise<TransferResult> {
  let socket: Socket;
  try {
    socket = socketOver(own, { readable: false, writable: true });
  } catch (error) {
    throw transferError(error, 0); // a kind of socket that libuv does not open
  }
  socket.on('error', () => {});
  try {
    return await sendToStream(socket, job);
  } finally {
    // Not end(): that would shut down the connection that the caller's own descriptor shares.
    socket.destroy();
  }
}
