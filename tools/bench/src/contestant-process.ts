/** The serving process: one contestant, one file. Talks to its parent by messages. */
import { statSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type Account, contestantNamed, FILE_TARGET, followTransfers, WARM_UP_TARGET } from './contestants.js';

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

const [name = '', path = ''] = process.argv.slice(2);
const account: Account = { method: 'none', syscalls: 0 };
const contestant = contestantNamed(name);
/** By request target: the file, a small one, and `/file-N` for files next to it. */
const handlers = new Map<string, RequestListener>();
function handlerOf(target: string): RequestListener {
  let handler = handlers.get(target);
  if (handler === undefined) {
    const file = target === WARM_UP_TARGET ? fileURLToPath(import.meta.url) : path + target.slice(FILE_TARGET.length);
    handler = contestant.handler(file, statSync(file).size, account);
    handlers.set(target, handler);
  }
  return handler;
}
followTransfers(account);
const tell = (message: ServerMessage): void => {
  process.send?.(message);
};

const delay = monitorEventLoopDelay({ resolution: 1 });
setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

function heap(): number {
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

let usage = process.cpuUsage();
/** 'report', or 'report in detail': measuring the loop and the heap costs time. */
process.on('message', (question) => {
  const detailed = question === 'report in detail';
  const { user, system } = process.cpuUsage(usage);
  tell({
    report: {
      cpuSeconds: (user + system) / 1e6,
      peakMemory: process.resourceUsage().maxRSS * 1024,
      method: account.method,
      syscalls: account.syscalls,
      ...(detailed ? { loopDelayP99: delay.percentile(99) / 1e6, heap: heap() } : {}),
    },
  });
  if (detailed) {
    delay.enable();
    delay.reset();
  }
  account.syscalls = 0;
  usage = process.cpuUsage();
});
process.on('disconnect', () => process.exit());

const server = createServer((request, response) => handlerOf(request.url ?? FILE_TARGET)(request, response));
server.listen(0, '127.0.0.1', () => tell({ port: (server.address() as AddressInfo).port }));
