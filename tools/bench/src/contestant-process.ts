/** The serving process: one contestant, one file. Talks to its parent by messages. */
import { statSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { type Account, contestantNamed, followTransfers, WARM_UP_TARGET } from './contestants.js';

export interface ServerReport {
  /** Seconds of CPU (user and system) since the last report. */
  readonly cpuSeconds: number;
  /** The process's peak resident memory, in bytes. */
  readonly peakMemory: number;
  readonly method: string;
  readonly syscalls: number;
}

export type ServerMessage = { readonly port: number } | { readonly report: ServerReport };

const [name = '', path = ''] = process.argv.slice(2);
const account: Account = { method: 'none', syscalls: 0 };
const contestant = contestantNamed(name);
const serve = (file: string): RequestListener => contestant.handler(file, statSync(file).size, account);
const serveFile = serve(path);
const serveSmallFile = serve(fileURLToPath(import.meta.url));
followTransfers(account);
const tell = (message: ServerMessage): void => {
  process.send?.(message);
};

let usage = process.cpuUsage();
process.on('message', () => {
  const { user, system } = process.cpuUsage(usage);
  tell({
    report: {
      cpuSeconds: (user + system) / 1e6,
      peakMemory: process.resourceUsage().maxRSS * 1024,
      method: account.method,
      syscalls: account.syscalls,
    },
  });
  account.syscalls = 0;
  usage = process.cpuUsage();
});
process.on('disconnect', () => process.exit());

const server = createServer((request, response) => {
  (request.url === WARM_UP_TARGET ? serveSmallFile : serveFile)(request, response);
});
server.listen(0, '127.0.0.1', () => tell({ port: (server.address() as AddressInfo).port }));
