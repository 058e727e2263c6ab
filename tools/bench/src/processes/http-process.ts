/** The serving process: one contestant, one directory, by HTTPS if it is given a key. Talks to its parent by messages. */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { type Account, countMethods, httpContestant } from './http-contestants.js';
import { answerReports, tell } from './reporting.js';

const [name = '', directory = '', key, cert] = process.argv.slice(2);
const account: Account = { method: 'copy', syscalls: 0 };
const listener = await httpContestant(name).serve(directory, account);
answerReports(() => {
  countMethods(account);
  const { method, syscalls } = account;
  account.syscalls = 0;
  return { method, syscalls };
});

const server =
  key === undefined || cert === undefined
    ? createServer(listener)
    : https.createServer({ key: readFileSync(key), cert: readFileSync(cert) }, listener);
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
  tell({ port: (server.address() as AddressInfo).port });
});
