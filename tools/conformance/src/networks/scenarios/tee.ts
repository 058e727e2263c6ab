/** One sender, to two sockets and a file. The second socket is the one that waits in the middle, so that all others do. */
import { open } from 'node:fs/promises';
import net from 'node:net';
import { join } from 'node:path';
import { tee } from '@zerocopy/splice-pipe';
import {
  type Activity,
  connect,
  fingerprintOfFile,
  type Passage,
  receive,
  type Scenario,
  send,
  serveOnce,
} from './scenario.js';

const NAME = 'tee';

export const teeToThree: Scenario = {
  name: 'tee, two sockets and a file',

  async prepare(site) {
    const receivers: Activity[] = [];
    for (const middle of [undefined, site.middle]) {
      receivers.push(
        await serveOnce(site.address, async (socket) => {
          socket.end();
          return [{ name: NAME, ...(await receive(socket, site.size, middle)) }];
        }),
      );
    }
    return {
      ports: receivers.flatMap(({ ports }) => ports),
      done: async () => (await Promise.all(receivers.map((receiver) => receiver.done()))).flat(),
    };
  },

  serve: ({ address, peerAddress, directory }, ports) =>
    serveOnce(address, async (source) => {
      const sockets = await Promise.all(ports.map((port) => connectTo(peerAddress, port)));
      const path = join(directory, NAME);
      const file = await open(path, 'w');
      const { bytes, method, fallbackReason, destinations } = await tee(source, [...sockets, file]);
      for (const socket of [source, ...sockets]) socket.end();
      await file.close();
      const passages: Passage[] = [{ name: NAME, bytes, method, fallbackReason }];
      for (const { bytes: arrived, error } of destinations) {
        if (error !== undefined) throw error;
        passages.push({ name: NAME, bytes: arrived });
      }
      passages.push({ name: NAME, ...(await fingerprintOfFile(path)) });
      return passages;
    }),

  async visit(site, [port]) {
    const socket = await connect(site.peerAddress, port as number);
    socket.resume();
    return [{ name: NAME, ...(await send(socket, NAME, site)) }];
  },
};

const connectTo = (host: string, port: number): net.Socket => net.connect({ host, port, allowHalfOpen: true });
