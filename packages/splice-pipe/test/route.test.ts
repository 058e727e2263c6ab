/** Pipes between streams of other code, taken over beneath: as with Node alone, and by splice. */
import { once } from 'node:events';
import { createWriteStream, readFileSync } from 'node:fs';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { routeBeneath, type TakenRoute } from '@zerocopy/splice-pipe/route';
import { MethodRecord } from '@zerocopy/transfer';
import { collect, kernelTest, MiB, pattern, pause, sha256, temporaryDirectory, until, withPair } from './harness.js';

const directory = temporaryDirectory();
let names = 0;
const fresh = (): string => join(directory, `route-${names++}`);
const BODY = pattern(3 * MiB + 7);

async function serving(
  handle: (request: IncomingMessage, response: ServerResponse) => void,
  use: (port: number) => Promise<void>,
): Promise<void> {
  const server = http.createServer(handle).listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    await use((server.address() as AddressInfo).port);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

async function put(port: number, body: Buffer, agent?: http.Agent): Promise<Buffer> {
  const request = http.request({ port, host: '127.0.0.1', method: 'PUT', ...(agent && { agent }) });
  request.setHeader('Content-Length', body.length);
  request.write(body.subarray(0, 100_000));
  setTimeout(() => request.end(body.subarray(100_000)), 20);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  return collect(response);
}

kernelTest(
  'a socket into an fs.WriteStream and into a socket: each byte, by splice, and the ends of Node',
  async (t) => {
    for (const to of ['file', 'socket'] as const) {
      await withPair('tcp', directory, ({ server: source, client: writer }) =>
        withPair('tcp', directory, async ({ server, client: reader }) => {
          const path = fresh();
          const destination = to === 'file' ? createWriteStream(path) : server;
          const record = new MethodRecord(source);
          const received = to === 'file' ? undefined : collect(reader);
          source.pipe(destination);
          const route = routeBeneath(source, destination, { record });
          t.false('refused' in route);
          writer.end(BODY);
          await until(() => destination.writableFinished, to);
          const all = received === undefined ? readFileSync(path) : await received;
          t.is(sha256(all), sha256(BODY), to);
          t.is(record.method, 'splice', to);
          t.false((route as TakenRoute).underWay);
          if (to === 'file') t.is((destination as ReturnType<typeof createWriteStream>).bytesWritten, BODY.length);
          for (const name of ['_write', '_writev', '_destroy', 'write', 'end', 'cork', '_read', 'setEncoding']) {
            if (to === 'file') t.false(Object.hasOwn(destination, name), name);
            t.false(name !== '_write' && Object.hasOwn(source, name), name);
          }
        }),
      );
    }
  },
);

kernelTest('a request into an fs.WriteStream: several on one connection', async (t) => {
  const records: MethodRecord[] = [];
  const paths: string[] = [];
  await serving(
    (request, response) => {
      const path = fresh();
      paths.push(path);
      const file = createWriteStream(path);
      const record = new MethodRecord(request);
      records.push(record);
      request.pipe(file);
      routeBeneath(request, file, { record });
      file.on('finish', () => response.end('done'));
    },
    async (port) => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      for (let n = 0; n < 3; n++) t.is(String(await put(port, BODY, agent)), 'done');
      agent.destroy();
    },
  );
  for (const path of paths) t.true(readFileSync(path).equals(BODY));
  t.deepEqual(
    records.map(({ method }) => method),
    ['splice', 'splice', 'splice'],
  );
});

kernelTest(
  'a reverse proxy: bodies of requests and of responses into messages, on connections that are kept',
  async (t) => {
    const records: MethodRecord[] = [];
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const lay = (source: IncomingMessage, destination: NodeJS.WritableStream): void => {
      const record = new MethodRecord(source);
      source.pipe(destination);
      const route = routeBeneath(source, destination, { record });
      t.false('refused' in route, 'refused' in route ? route.refused : '');
      records.push(record);
    };
    await serving(
      (request, response) => {
        // Echoes, when it has all: a body of known length.
        void collect(request).then(async (body) => {
          response.setHeader('Content-Length', body.length);
          response.write(body.subarray(0, 10));
          await pause(10);
          response.end(body.subarray(10));
        });
      },
      async (upstream) => {
        await serving(
          (request, response) => {
            const forwarded = http.request({
              port: upstream,
              host: '127.0.0.1',
              method: 'PUT',
              agent,
              headers: { 'Content-Length': request.headers['content-length'] },
            });
            lay(request, forwarded);
            forwarded.on('response', (answer) => {
              response.writeHead(200, { 'Content-Length': answer.headers['content-length'] });
              lay(answer, response);
            });
          },
          async (port) => {
            const own = new http.Agent({ keepAlive: true, maxSockets: 1 });
            for (let n = 0; n < 3; n++) t.is(sha256(await put(port, BODY, own)), sha256(BODY));
            own.destroy();
          },
        );
      },
    );
    agent.destroy();
    t.is(records.length, 6);
    for (const { method, fallbackReason } of records) t.deepEqual([method, fallbackReason], ['splice', undefined]);
  },
);

kernelTest(
  'what other code writes to the destination in the middle comes at the byte that has been reached',
  async (t) => {
    await withPair('unix', directory, async ({ server: source, client: writer }) => {
      const path = fresh();
      const file = createWriteStream(path);
      source.pipe(file);
      routeBeneath(source, file);
      writer.write(BODY.subarray(0, MiB));
      await until(() => file.bytesWritten === MiB);
      file.write('|');
      writer.end(BODY.subarray(MiB));
      await once(file, 'close');
      const all = readFileSync(path);
      t.is(all[MiB], '|'.charCodeAt(0));
      t.true(Buffer.concat([all.subarray(0, MiB), all.subarray(MiB + 1)]).equals(BODY));
    });
  },
);

kernelTest('what cannot be taken over is left as it is, with the reason', async (t) => {
  await withPair('tcp', directory, async ({ server: source }) => {
    const through = new PassThrough();
    t.regex((routeBeneath(source, through) as { refused: string }).refused, /no file, socket or HTTP message/);
    const file = createWriteStream(fresh());
    t.regex((routeBeneath(through, file) as { refused: string }).refused, /no socket and no HTTP message/);
    file.write = file.write.bind(file);
    file._write = file._write.bind(file);
    source.pipe(file);
    t.regex((routeBeneath(source, file) as { refused: string }).refused, /write methods have been replaced/);
    file.destroy();
  });
});
