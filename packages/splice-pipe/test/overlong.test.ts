/** Upstreams that send more than their Content-Length: the body is whole, and the connection dies, as with Node's own streams. */
import { once } from 'node:events';
import { closeSync, createWriteStream, openSync, readFileSync } from 'node:fs';
import http, { type IncomingMessage } from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createSpliceWriteStream, splice } from '@zerocopy/splice-pipe';
import { routeBeneath } from '@zerocopy/splice-pipe/route';
import { kernelTest, MiB, pattern, pause, temporaryDirectory } from './harness.js';

const directory = temporaryDirectory();
let names = 0;
const BODY = pattern(2 * MiB);

type Way = (response: IncomingMessage, path: string) => Promise<unknown>;
const node: Way = (response, path) => pipeline(response, createWriteStream(path));
const ways: Record<string, Way> = {
  createSpliceWriteStream: (response, path) => pipeline(response, createSpliceWriteStream(path)),
  async 'splice()'(response, path) {
    const fd = openSync(path, 'w');
    try {
      await splice(response, fd);
    } finally {
      closeSync(fd);
    }
  },
  async 'a route beneath a pipe'(response, path) {
    const file = createWriteStream(path);
    response.pipe(file);
    routeBeneath(response, file);
    await once(file, 'close');
  },
};

/** What follows the body, in the same write. */
const extras: Record<string, string> = {
  'a byte': 'x',
  'what looks like another response': 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged',
  'a line end': '\r\n',
  nothing: '',
};

interface Outcome {
  readonly whole: boolean;
  readonly complete: boolean;
  readonly error: string | undefined;
  readonly destroyed: boolean;
  /** What a second request on the same agent gets. */
  readonly second: string;
}

async function outcomeOf(way: Way, extra: string): Promise<Outcome> {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', async () => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${BODY.length}\r\n\r\n`);
      socket.write(BODY.subarray(0, MiB));
      await pause(30);
      socket.write(Buffer.concat([BODY.subarray(MiB), Buffer.from(extra, 'latin1')]));
      socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond'));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  try {
    const request = http.get({ port, host: '127.0.0.1', agent });
    let error: string | undefined;
    request.on('error', (reason: NodeJS.ErrnoException) => {
      error = reason.code;
    });
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    const { socket } = response;
    const path = join(directory, `overlong-${names++}`);
    await way(response, path);
    await pause(30);
    const again = http.get({ port, host: '127.0.0.1', agent });
    const second = await Promise.race([
      once(again, 'response').then(async ([answer]) => {
        const chunks: Buffer[] = [];
        for await (const chunk of answer as IncomingMessage) chunks.push(chunk as Buffer);
        return chunks.length > 0 ? String(Buffer.concat(chunks).subarray(0, 6)) : 'none';
      }),
      once(again, 'error').then(([reason]) => (reason as NodeJS.ErrnoException).code ?? 'error'),
      pause(500).then(() => 'silence'),
    ]).catch((reason: NodeJS.ErrnoException) => reason.code ?? 'error');
    again.on('error', () => {}).destroy();
    return {
      whole: readFileSync(path).equals(BODY),
      complete: response.complete,
      error,
      destroyed: socket.destroyed,
      second: second.replace(/[^\w]/g, '?'),
    };
  } finally {
    agent.destroy();
    server.close();
  }
}

for (const [name, extra] of Object.entries(extras)) {
  kernelTest(`a response that is followed by ${name}: as with Node, whichever way it goes`, async (t) => {
    const expected = await outcomeOf(node, extra);
    t.is(expected.destroyed, name !== 'nothing' && name !== 'a line end' ? true : expected.destroyed);
    for (const [way, go] of Object.entries(ways)) {
      const { second, ...outcome } = await outcomeOf(go, extra);
      t.not(second, 'forged', way);
      t.deepEqual({ ...outcome, second: expected.second }, expected, way);
    }
  });
}
