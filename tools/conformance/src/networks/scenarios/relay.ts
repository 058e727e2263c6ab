/** One socket into another: as a stream in a pipeline, and by `splice` of exactly so many bytes, twice. */
import type net from 'node:net';
import { pipeline } from 'node:stream/promises';
import { createSpliceReadStream, splice } from '@zerocopy/splice-pipe';
import { closed, connect, type Passage, receive, type Scenario, send, serveOnce } from './scenario.js';

interface Form {
  readonly name: string;
  move(source: net.Socket, destination: net.Socket, size: number): Promise<Passage[]>;
}

const AS_STREAM: Form = {
  name: 'createSpliceReadStream',
  async move(source, destination) {
    const stream = createSpliceReadStream(source);
    await pipeline(stream, destination);
    const { bytesMoved, method, fallbackReason } = stream;
    return [{ name: this.name, bytes: bytesMoved, method, fallbackReason }];
  },
};

const BY_LENGTH: Form = {
  name: 'splice, by length',
  async move(source, destination, size) {
    const half = Math.floor(size / 2);
    const first = await splice(source, destination, { length: half });
    const rest = await splice(source, destination);
    destination.end();
    const bytes = first.bytes + rest.bytes;
    if (first.bytes !== half) throw new Error(`${first.bytes} bytes instead of ${half}`);
    return [first, rest].map(({ method, fallbackReason }) => ({ name: this.name, bytes, method, fallbackReason }));
  },
};

function scenario(form: Form): Scenario {
  const { name } = form;
  return {
    name,

    prepare: (site) =>
      serveOnce(site.address, async (socket) => {
        socket.resume();
        return [{ name, ...(await send(socket, name, site)) }];
      }),

    serve: ({ address, peerAddress, size }, [upstream]) =>
      serveOnce(address, async (client) => {
        const source = await connect(peerAddress, upstream as number);
        client.resume();
        const passages = await form.move(source, client, size);
        source.end();
        await closed(client);
        return passages;
      }),

    async visit({ peerAddress, size, middle }, [port]) {
      const socket = await connect(peerAddress, port as number);
      const received = await receive(socket, size, middle);
      socket.end();
      return [{ name, ...received }];
    },
  };
}

export const spliceStream: Scenario = scenario(AS_STREAM);
export const spliceByLength: Scenario = scenario(BY_LENGTH);
