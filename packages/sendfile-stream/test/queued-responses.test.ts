/** Responses to pipelined requests, whose connection closes before their turn has come: sendFile settles. */
import { once } from 'node:events';
import http, { type RequestListener, type ServerResponse } from 'node:http';
import https from 'node:https';
import net, { type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import tls from 'node:tls';
import type { TransferError, TransferResult } from '@zerocopy/core-syscalls';
import { keepFilesOpen, sendFile } from '@zerocopy/sendfile-stream';
import { clientOptionsOf, serverOptionsOf } from '@zerocopy/testing/tls';
import test from 'ava';
import { MiB, openDescriptors, pattern, temporaryDirectory, until, writeFile } from './harness.js';

const directory = temporaryDirectory();
const small = writeFile(join(directory, 'small'), pattern(3000));
const large = writeFile(join(directory, 'large'), pattern(3 * MiB));
const GET = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n';

/** How each of them is sent; the second is not announced, and so ended by itself. */
const sends: readonly ((response: ServerResponse) => Promise<TransferResult>)[] = [
  (response) => sendFile(response, small),
  (response) => sendFile(response, small, { onProgress: () => {} }),
  (response) => sendFile(response, large),
  (response) => sendFile(response.setHeader('Transfer-Encoding', 'chunked'), small, { endMessage: true }),
];

for (const kind of ['http', 'https'] as const) {
  test.serial(`${kind}: asked for before the connection closes, and after`, async (t) => {
    keepFilesOpen(false);
    for (const late of [false, true]) {
      const before = openDescriptors();
      const codes: (string | undefined)[] = [];
      let responses = 0;
      const handle: RequestListener = (request, response) => {
        const send = sends[responses++ - 1];
        if (send === undefined) return; // the first one is never answered
        const go = (): void =>
          void send(response).then(
            () => codes.push(undefined),
            (error: TransferError) => codes.push(error.code),
          );
        if (late) request.socket.once('close', go);
        else go();
      };
      const server = kind === 'http' ? http.createServer(handle) : https.createServer(serverOptionsOf(), handle);
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      const where = { port: (server.address() as AddressInfo).port, host: '127.0.0.1' };
      const client: Socket = kind === 'http' ? net.connect(where) : tls.connect({ ...where, ...clientOptionsOf() });
      client.on('error', () => {});
      client.write(GET.repeat(1 + sends.length));
      await until(() => responses === 1 + sends.length, 'all requests');
      client.destroy();
      await until(() => codes.length === sends.length, 'all have settled');
      t.deepEqual(codes, Array(sends.length).fill('ECONNRESET'));
      server.close();
      await until(() => openDescriptors() <= before, 'descriptors closed');
    }
  });
}

test('those whose turn comes are sent in their order', async (t) => {
  const responses: ServerResponse[] = [];
  const server = http.createServer((_request, response) => responses.push(response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = net.connect((server.address() as AddressInfo).port, '127.0.0.1');
  client.write(GET.repeat(2));
  client.write(`GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
  let received = 0;
  client.on('data', (chunk: Buffer) => {
    received += chunk.length;
  });
  await until(() => responses.length === 3, 'all requests');
  const [first, ...queued] = responses as [ServerResponse, ...ServerResponse[]];
  const sent = queued.map((response) => sendFile(response, large));
  await sendFile(first, small);
  t.deepEqual(
    (await Promise.all(sent)).map(({ bytes }) => bytes),
    [3 * MiB, 3 * MiB],
  );
  await until(() => received > 6 * MiB + 3000 && client.closed, 'all bytes');
  server.close();
});
