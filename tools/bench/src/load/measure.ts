/** One contestant's turn on one connection: bytes moved, and what they cost the serving process. */
import type { Server } from '../servers/server.js';
import { load, PollingClient } from './polling-client.js';

export interface Sample {
  readonly bytes: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly peakMemory: number;
  readonly method: string;
  readonly syscalls: number;
}

/** A server is compiled after its first few thousand requests, and should be before it is measured. */
const WARM_UP_REQUESTS = 3000;
const WARM_UP_MS = 500;

/** @param target of a small file. */
export function warmUp(server: Server, target: string): void {
  const startedAt = performance.now();
  for (let requests = 0; requests < WARM_UP_REQUESTS && performance.now() - startedAt < WARM_UP_MS; ) {
    requests += load(server.port, { connections: 1, duration: 50, target: () => target }).latencies.length;
  }
}

/** Downloads `target` `requests` times on one kept-alive connection. */
export async function measure(
  server: Server,
  target: string,
  requests: number,
  onBytes?: (bytes: number) => void,
): Promise<Sample> {
  const client = new PollingClient(server.port);
  try {
    await server.details(); // from here on counts
    server.meter.read();
    const startedAt = performance.now();
    let bytes = 0;
    for (let n = 0; n < requests; n++) {
      const done = bytes;
      bytes += client.get(target, onBytes && ((part) => onBytes(done + part))).bytes;
    }
    const seconds = (performance.now() - startedAt) / 1000;
    const { cpuSeconds, peakMemory } = server.meter.read();
    const { method, syscalls } = await server.details();
    return { bytes, seconds, cpuSeconds, peakMemory, method, syscalls };
  } finally {
    client.close();
  }
}

export const GB = 1e9;

export function cpuSecondsPerGB(sample: Sample): number {
  return sample.cpuSeconds / (sample.bytes / GB);
}
