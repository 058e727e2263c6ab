/** The serving process of the scenario of static files: one contestant, one directory. Talks to its parent by messages. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { answerReports, tell } from './reporting.js';
import { staticContestant } from './static-contestants.js';

const [name = '', directory = ''] = process.argv.slice(2);
const listener = await staticContestant(name).serve(directory);
answerReports(() => ({ method: name }));

const server = createServer(listener);
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
  tell({ port: (server.address() as AddressInfo).port });
});
