/** A proxy between two hosts, or twice over the same link: client and upstream are both on the visiting host. */
import { once } from 'node:events';
import net, { type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { descriptorOf, syscalls } from '@zerocopy/core-syscalls';
import { proxy } from '@zerocopy/splice-pipe';
import { connect, receive, type Scenario, send, serveOnce } from './scenario.js';

const FORWARD = 'proxy, forward';
const BACKWARD = 'proxy, backward';
const FIONREAD = 0x541b;

/** Waits until the kernel has so much for whoever reads; nobody does yet. */
async function waiting(socket: Socket, bytes: number): Promise<void> {
  const count = new Int32Array(1);
  for (;;) {
    syscalls.ioctl(descriptorOf(socket) ?? -1, FIONREAD, count);
    if ((count[0] as number) >= bytes) return;
    await sleep(2);
  }
}

export const bothDirections: Scenario = {
  name: 'proxy, both directions',

  prepare: (site) =>
    serveOnce(site.address, async (socket) => {
      const [received, sent] = await Promise.all([receive(socket, site.size), send(socket, BACKWARD, site)]);
      return [
        { name: FORWARD, ...received },
        { name: BACKWARD, ...sent },
      ];
    }),

  serve: ({ address, peerAddress, backlog }, [port]) =>
    serveOnce(
      address,
      async (client) => {
        const upstream = net.connect({ host: peerAddress, port: port as number }).pause();
        await once(upstream, 'connect');
        await Promise.all([waiting(client, backlog), waiting(upstream, backlog)]);
        const { forward, backward } = await proxy(client, upstream, {
          halfCloseTimeout: 0, // one direction may be stalled for minutes, when the other has long ended
        });
        return [
          { name: FORWARD, bytes: forward.bytes, method: forward.method, fallbackReason: forward.fallbackReason },
          { name: BACKWARD, bytes: backward.bytes, method: backward.method, fallbackReason: backward.fallbackReason },
        ];
      },
      { pauseOnConnect: true },
    ),

  async visit(site, [port]) {
    const socket = await connect(site.peerAddress, port as number);
    const [sent, received] = await Promise.all([send(socket, FORWARD, site), receive(socket, site.size, site.middle)]);
    return [
      { name: FORWARD, ...sent },
      { name: BACKWARD, ...received },
    ];
  },
};
