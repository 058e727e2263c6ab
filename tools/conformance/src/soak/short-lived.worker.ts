/**
 * A thread that moves bytes until it is terminated, or for two rounds: files to sockets, sockets to sockets, files to files.
 * It maps nothing: the address space of a terminated thread's mappings goes back when the process ends, as the README says.
 * And it tells when it may be terminated: what is still binding its first functions then takes the process with it, because
 * koffi cannot throw in a thread that is ending.
 */
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { MiB, pattern } from '@zerocopy/testing/bytes';
import { wayNamed } from '../ways/index.js';
import { complaintOf, run } from '../ways/way.js';

export interface ShortLivedData {
  /** That only this thread uses, and another removes. */
  readonly directory: string;
}

const WAYS = [
  'sendFile to a tcp socket',
  'createSendfileStream to a tcp socket',
  'createSpliceWriteStream from a tcp socket',
  'splice from a tcp socket to a tcp socket',
  'copyFile by copy_file_range',
].map(wayNamed);

const { directory } = workerData as ShortLivedData;
const content = pattern(3 * MiB);

async function round(): Promise<void> {
  const each = WAYS.map((way) => run(way, { directory: mkdtempSync(join(directory, 'way-')), content }));
  for (const delivery of (await Promise.all(each)).flat()) {
    const complaint = complaintOf(delivery, content) ?? delivery.error?.message;
    if (complaint !== undefined) throw new Error(complaint);
  }
}

await round();
parentPort?.postMessage('warm');
await round();
