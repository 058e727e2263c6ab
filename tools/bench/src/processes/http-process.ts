/** The serving process: one contestant, one directory. Talks to its parent by messages. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Account, countMethods, httpContestant } from './http-contestants.js';
import { answerReports, tell } from './reporting.js';

const [name = '', directory = ''] = process.argv.slice(2);
const account: Account = { method: 'copy', syscalls: 0 };
const listener = await httpContestant(name).serve(directory, account);
answerReports(() => {
  countMethods(account);
  const { method, syscalls } = account;
  account.syscalls = 0;
  return { method, syscalls };
});

const server = createServer(listener);
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
  tell({ port: (server.address() as AddressInfo).port });
});
