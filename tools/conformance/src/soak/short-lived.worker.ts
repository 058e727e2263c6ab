/**
 * A thread that moves bytes until it is terminated, or for two rounds: files to sockets, sockets to sockets, files to files.
 * It maps nothing: the address space of a terminated thread's mappings goes back when the process ends, as the README says.
 * And it tells when it may be terminated: what is still binding its first functions then takes the process with it, because
 * koffi cannot throw in a thread that is ending.
 */
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import net, { type AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { copyFile } from '@zerocopy/file-copy';
import { createSendfileStream, sendFile } from '@zerocopy/sendfile-stream';
import { createSpliceWriteStream, splice } from '@zerocopy/splice-pipe';

export interface ShortLivedData {
  readonly source: string;
  /** A path that only this thread writes to, and others below it. */
  readonly made: string;
}

const { source, made } = workerData as ShortLivedData;
const server = net.createServer({ allowHalfOpen: true });
server.listen(0, '127.0.0.1');
await once(server, 'listening');

async function pair(): Promise<[net.Socket, net.Socket]> {
  const client = net.connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  const [accepted] = (await once(server, 'connection')) as [net.Socket];
  return [accepted, client];
}

async function round(): Promise<void> {
  const [sender, relayEnd] = await pair();
  const [relayStart, receiver] = await pair();
  const stored = pipeline(receiver, createSpliceWriteStream(made));
  const relayed = splice(relayEnd, relayStart).then(() => relayStart.end());
  await sendFile(sender, source);
  await pipeline(createSendfileStream(source), sender);
  await Promise.all([stored, relayed]);
  await copyFile(made, `${made}-copy`);
  for (const socket of [sender, relayEnd, relayStart, receiver]) socket.destroy();
  await Promise.all([rm(made), rm(`${made}-copy`)]);
}

await round();
parentPort?.postMessage('warm');
await round();
server.close();
