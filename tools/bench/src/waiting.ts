/** `npm run bench:waiting`: the memory that a transfer holds while its receiver does not read. */
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import CliTable from 'cli-table3';
import { ContestantServer } from './contestant-server.js';
import { FILE_TARGET } from './contestants.js';
import { warmUp } from './measure.js';

const KiB = 1024;
const RECEIVERS = 1000;
const FILE_SIZE = 16 * KiB * KiB;

async function heapWithReceivers(name: string, path: string): Promise<number> {
  const server = await ContestantServer.start(name, path, false);
  const sockets: Socket[] = [];
  try {
    if (name !== 'silent') await warmUp(server);
    const { heap: before = Number.NaN } = await server.report(true);
    for (let n = 0; n < RECEIVERS; n++) {
      const socket = connect(server.port, '127.0.0.1');
      await once(socket, 'connect');
      socket.write(`GET ${FILE_TARGET} HTTP/1.1\r\nHost: x\r\n\r\n`);
      sockets.push(socket);
    }
    await new Promise((resolve) => setTimeout(resolve, 2000)); // until all of them wait
    const { heap: after = Number.NaN } = await server.report(true);
    return (after - before) / RECEIVERS;
  } finally {
    for (const socket of sockets) socket.destroy();
    await server.stop();
  }
}

const directory = mkdtempSync(join(tmpdir(), 'zerocopy-waiting-'));
try {
  const path = join(directory, 'file');
  writeFileSync(path, Buffer.alloc(FILE_SIZE, 'w'));
  const connection = await heapWithReceivers('silent', path);
  const table = new CliTable({ head: ['', 'KiB a transfer'], style: { head: [], border: [] } });
  for (const name of ['node', 'zerocopy', 'zerocopy-sendFile']) {
    table.push([name, (((await heapWithReceivers(name, path)) - connection) / KiB).toFixed(1)]);
  }
  console.log(table.toString());
  console.log(
    `${RECEIVERS} receivers that do not read; heap and external memory after a collection, less ${(connection / KiB).toFixed(1)} KiB for a connection with an unanswered request.`,
  );
} finally {
  rmSync(directory, { recursive: true, force: true });
}
