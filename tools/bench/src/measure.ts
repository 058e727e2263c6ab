/** One contestant's turn: bytes moved, and what they cost the serving process. */
import type { Server } from './contestant-server.js';
import { FILE_TARGET, WARM_UP_TARGET } from './contestants.js';
import { PollingClient } from './polling-client.js';

export interface Sample {
  readonly bytes: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly peakMemory: number;
  readonly method: string;
  readonly syscalls: number;
}

/** Of a small file: a server is compiled after its first minute, and should be before it is measured. */
const WARM_UP_REQUESTS = 3000;

export async function warmUp(server: Server): Promise<void> {
  await measure(server, WARM_UP_REQUESTS, { target: WARM_UP_TARGET });
}

export interface MeasureOptions {
  readonly target?: string;
  readonly onBytes?: (bytes: number) => void;
}

/** Downloads `target` (by default the file) `requests` times on one kept-alive connection. */
export async function measure(
  server: Server,
  requests: number,
  { target = FILE_TARGET, onBytes }: MeasureOptions = {},
): Promise<Sample> {
  const client = await PollingClient.connect(server.port);
  try {
    await server.report(); // from here on counts
    const startedAt = performance.now();
    let bytes = 0;
    for (let n = 0; n < requests; n++) {
      const done = bytes;
      bytes += client.get(target, onBytes === undefined ? {} : { onBytes: (part) => onBytes(done + part) }).bytes;
    }
    const seconds = (performance.now() - startedAt) / 1000;
    const { cpuSeconds, peakMemory, method, syscalls } = await server.report();
    return { bytes, seconds, cpuSeconds, peakMemory, method, syscalls };
  } finally {
    client.close();
  }
}

/** One download whose every byte is received and hashed; hexadecimal SHA-256. */
export async function hashOfDownload(server: Server): Promise<{ bytes: number; sha256: string }> {
  const client = await PollingClient.connect(server.port);
  try {
    const { bytes, sha256 } = client.get(FILE_TARGET, { hash: true });
    return { bytes, sha256: sha256 ?? '' };
  } finally {
    client.close();
  }
}

export const GB = 1e9;

export function cpuSecondsPerGB(sample: Sample): number {
  return sample.cpuSeconds / (sample.bytes / GB);
}
