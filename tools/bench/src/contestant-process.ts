/** The serving process: one contestant, one file. Talks to its parent by messages. */
import { statSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { type Account, contestantNamed, FILE_TARGET, followTransfers, WARM_UP_TARGET } from './contestants.js';
import { answerReports, tell } from './reporting.js';

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

const delay = monitorEventLoopDelay({ resolution: 1 });
answerReports((detailed) => {
  const { method, syscalls } = account;
  const loopDelayP99 = delay.percentile(99) / 1e6;
  account.syscalls = 0;
  if (!detailed) return { method, syscalls };
  delay.enable();
  delay.reset();
  return { method, syscalls, loopDelayP99 };
});

const server = createServer((request, response) => handlerOf(request.url ?? FILE_TARGET)(request, response));
server.listen(0, '127.0.0.1', () => tell({ port: (server.address() as AddressInfo).port }));
