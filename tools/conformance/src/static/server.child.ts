/** One server in a process of its own: tells its parent the port, and what it holds. */
import { readdirSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { servers } from './servers.js';

const [, , name, root = ''] = process.argv;
const found = servers.find((server) => server.name === name);
if (found === undefined) throw new RangeError(`there is no server '${name}'`);

const server = await found.serve(root);
server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }));
process.on('message', () => process.send?.({ descriptors: readdirSync('/proc/self/fd').length }));
process.on('disconnect', () => process.exit());
