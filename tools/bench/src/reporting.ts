/** The measured process's side of the talk with its parent. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

export interface ServerReport {
  /** Seconds of CPU (user and system) since the last report. */
  readonly cpuSeconds: number;
  /** The process's peak resident memory, in bytes. */
  readonly peakMemory: number;
  readonly method: string;
  readonly syscalls: number;
  /** The 99th percentile of how late the event loop was, in milliseconds; undefined if it is not known. */
  readonly loopDelayP99?: number;
  /** JavaScript heap and what it keeps outside of it, after a collection, in bytes. */
  readonly heap?: number;
}

export type ServerMessage = { readonly port: number } | { readonly report: ServerReport };

export function tell(message: ServerMessage): void {
  process.send?.(message);
}

/**
 * Answers 'report', and 'report in detail': measuring the heap costs time.
 * @param details what this process knows beyond CPU and memory; called once for each report.
 */
export function answerReports(details: (detailed: boolean) => Partial<ServerReport>): void {
  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc') as () => void;
  let usage = process.cpuUsage();
  process.on('message', (question) => {
    const detailed = question === 'report in detail';
    const { user, system } = process.cpuUsage(usage);
    const report: ServerReport = {
      cpuSeconds: (user + system) / 1e6,
      peakMemory: process.resourceUsage().maxRSS * 1024,
      method: 'unknown',
      syscalls: 0,
      ...(detailed ? { heap: heapAfter(collectGarbage) } : {}),
      ...details(detailed),
    };
    tell({ report });
    usage = process.cpuUsage();
  });
  process.on('disconnect', () => process.exit());
}

function heapAfter(collectGarbage: () => void): number {
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
