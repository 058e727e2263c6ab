/** Files over TLS, by sendFile: copied through lent buffers, in the order in which the kernel would have sent them. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { createHash } from 'node:crypto';
import { tracingChannel } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { appendFileSync, truncateSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import https from 'node:https';
import net, { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import tls from 'node:tls';
import { constants, descriptorOf, syscalls, TRANSFER_CHANNEL, type TransferTrace } from '@zerocopy/core-syscalls';
import { type SendFileOptions, sendFile } from '@zerocopy/sendfile-stream';
import { LENT_MAX, lentBuffers } from '@zerocopy/sendfile-stream/route';
import { isLongRun } from '@zerocopy/testing/kernel-tests';
import { evict } from '@zerocopy/testing/page-cache';
import { arrival, collect as collectToEnd, gather } from '@zerocopy/testing/sockets';
import {
  clientOptionsOf,
  connectEncrypted,
  getEncrypted,
  serverOptionsOf,
  TLS_VERSIONS,
  type TlsVersion,
  withEncryptedPair,
  withHttpsServer,
} from '@zerocopy/testing/tls';
import { KernelPathUnavailableError, type TransferError } from '@zerocopy/transfer';
import test from 'ava';
import { KiB, MiB, pattern, smallSerial, temporaryDirectory, until, writeFile } from './harness.js';

const directory = temporaryDirectory();
const REASON = 'the connection is encrypted (TLS)';
const BIG = 3 * MiB + 12_345;
const content = pattern(BIG);
const big = writeFile(join(directory, 'big'), content);

/** The sizes around which something else happens: a small file, one buffer, several. */
const SIZES = [1, 64 * KiB, 64 * KiB + 1, 256 * KiB - 1, 256 * KiB, 256 * KiB + 1, 512 * KiB, BIG];
const sized = new Map(SIZES.map((size) => [size, writeFile(join(directory, `${size}`), content.subarray(0, size))]));

type Send = (response: ServerResponse, url: string) => unknown;

const nothingLent = (): Promise<void> => until(() => lentBuffers() === 0, 'all buffers are given back');

test.afterEach.always(nothingLent);

for (const version of TLS_VERSIONS) {
  smallSerial(`${version}: files of all sizes, with and without a length, by one connection`, async (t) => {
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
    const send: Send = async (response, url) => {
      const [, kind, size = ''] = url.split('/');
      if (kind === 'length') response.writeHead(200, { 'Content-Length': size });
      if (kind === 'chunked') response.writeHead(200);
      const result = await sendFile(response, sized.get(Number(size)) as string, { endMessage: true });
      t.like(result, { bytes: Number(size), method: 'copy', fallbackReason: REASON });
    };
    await withHttpsServer(
      version,
      (request, response) => void send(response, request.url as string),
      async (port) => {
        for (const size of SIZES) {
          for (const kind of ['announced', 'length', 'chunked']) {
            const { headers, body } = await getEncrypted(version, port, { path: `/${kind}/${size}`, agent });
            t.true(body.equals(content.subarray(0, size)), `${kind} ${size}`);
            t.is(headers['content-length'], kind === 'chunked' ? undefined : String(size));
          }
        }
      },
    );
    agent.destroy();
  });

  smallSerial(`${version}: a bare socket: earlier and later writes, and other files, keep their order`, async (t) => {
    await withEncryptedPair(version, async (server, client) => {
      const received = collectToEnd(client);
      server.write('first ');
      server.cork();
      server.write('second ');
      server.uncork();
      const sendings = [
        sendFile(server, big),
        sendFile(server, big, { start: 10, end: 300_000 }),
        sendFile(server, sized.get(1) as string),
      ];
      server.write(' last');
      const results = await Promise.all(sendings);
      server.end();
      t.deepEqual(
        results.map(({ bytes }) => bytes),
        [BIG, 299_991, 1],
      );
      const expected = ['first second ', content, content.subarray(10, 300_001), content.subarray(0, 1), ' last'];
      t.true((await received).equals(Buffer.concat(expected.map((part) => Buffer.from(part)))));
    });
  });
}

smallSerial('a response: what is written before and after the file, with a length and in chunks', async (t) => {
  const send: Send = async (response, url) => {
    if (url === '/length') response.setHeader('Content-Length', BIG + 10);
    if (url === '/corked') response.cork();
    response.write('before');
    const sent = sendFile(response, big, { endMessage: false });
    response.write('afte');
    if (url === '/corked') response.uncork();
    t.is((await sent).bytes, BIG);
    response.end();
  };
  await withHttpsServer(
    'TLSv1.3',
    (request, response) => void send(response, request.url as string),
    async (port) => {
      for (const path of ['/length', '/chunked', '/corked']) {
        const { body } = await getEncrypted('TLSv1.3', port, { path });
        t.true(body.equals(Buffer.concat([Buffer.from('before'), content, Buffer.from('afte')])), path);
      }
    },
  );
});

smallSerial('pipelined requests, HEAD, 304 and Expect: the answers of Node', async (t) => {
  const send: Send = async (response, url) => {
    if (url === '/304') response.statusCode = 304;
    const { bytes } = await sendFile(response, big);
    t.is(bytes, url === '/200' ? BIG : 0);
  };
  await withHttpsServer(
    'TLSv1.3',
    (request, response) => void send(response, request.url as string),
    async (port) => {
      const client = await connectEncrypted('TLSv1.3', port);
      const received = gather(client);
      const get = (url: string): string => `GET ${url} HTTP/1.1\r\nHost: x\r\n\r\n`;
      client.write(`${get('/200')}HEAD /head HTTP/1.1\r\nHost: x\r\n\r\n${get('/304')}${get('/200')}`);
      const whole = (): Buffer[] => {
        const bytes = received.bytes();
        const found: Buffer[] = [];
        for (let at = bytes.indexOf(content); at >= 0; at = bytes.indexOf(content, at + BIG)) {
          found.push(bytes.subarray(at, at + BIG));
        }
        return found;
      };
      await until(() => received.bytes().length >= 2 * BIG && whole().length === 2, 'both bodies are there');
      const heads = received
        .bytes()
        .toString('latin1')
        .match(/HTTP\/1\.1 \d+/g);
      t.deepEqual(heads, ['HTTP/1.1 200', 'HTTP/1.1 200', 'HTTP/1.1 304', 'HTTP/1.1 200']);
      client.destroy();
      const expecting = await getEncrypted('TLSv1.3', port, { path: '/200', headers: { Expect: '100-continue' } });
      t.true(expecting.body.equals(content));
    },
  );
});

smallSerial('an upload by a client, whose connection is still to be made', async (t) => {
  await withHttpsServer(
    'TLSv1.3',
    async (request, response) => {
      response.end(String((await collectToEnd(request)).equals(content)));
    },
    async (port) => {
      const answer = await new Promise<string>((resolve, reject) => {
        const options = {
          host: '127.0.0.1',
          port,
          method: 'PUT',
          agent: false,
          ...clientOptionsOf('TLSv1.3'),
        } as const;
        const request = https.request(options, (response) => {
          collectToEnd(response).then((body) => resolve(String(body)), reject);
        });
        request.on('error', reject);
        sendFile(request, big).then(({ method, bytes }) => t.deepEqual([method, bytes], ['copy', BIG]), reject);
      });
      t.is(answer, 'true');
    },
  );
});

smallSerial('a cold file, and one in memory', async (t) => {
  const memory = writeFile(join(temporaryDirectory('/dev/shm'), 'f'), content);
  for (const path of [writeFile(join(directory, 'cold'), content), memory]) {
    await withEncryptedPair('TLSv1.3', async (server, client) => {
      const received = collectToEnd(client);
      evict(path);
      t.like(await sendFile(server, path), { bytes: BIG, method: 'copy' });
      server.end();
      t.true((await received).equals(content));
    });
  }
});

smallSerial('progress in the context of the caller, published once, counted', async (t) => {
  const storage = new AsyncLocalStorage<string>();
  const channel = tracingChannel<string, TransferTrace>(TRANSFER_CHANNEL);
  const events: string[] = [];
  let trace: TransferTrace | undefined;
  const on = (event: string) => (message: unknown) => {
    if ((message as TransferTrace).detail?.source !== big) return;
    events.push(event);
    trace = message as TransferTrace;
  };
  const subscribers = {
    start: on('start'),
    end: () => {},
    asyncStart: () => {},
    asyncEnd: on('asyncEnd'),
    error: on('error'),
  };
  channel.subscribe(subscribers as never);
  await withEncryptedPair('TLSv1.3', async (server, client) => {
    client.resume();
    const progress: (number | undefined)[][] = [];
    const stores = new Set<string | undefined>();
    const onProgress: SendFileOptions['onProgress'] = (bytes, total) => {
      progress.push([bytes, total]);
      stores.add(storage.getStore());
    };
    const result = await storage.run('caller', () => sendFile(server, big, { onProgress }));
    t.deepEqual(progress.at(-1), [BIG, BIG]);
    t.deepEqual(progress[0], [256 * KiB, BIG]);
    t.deepEqual([...stores], ['caller']);
    t.true(result.syscalls > 0);
  });
  channel.unsubscribe(subscribers as never);
  t.deepEqual(events, ['start', 'asyncEnd']);
  t.like(trace, { bytes: BIG, length: BIG, method: 'copy', fallbackReason: REASON, destination: 'socket' });
});

smallSerial('a signal ends it: what was accepted arrives, and later writes follow', async (t) => {
  await withEncryptedPair('TLSv1.3', async (server, client) => {
    const ending = new AbortController();
    const huge = writeFile(join(directory, 'huge'), pattern(16 * MiB));
    const sent = sendFile(server, huge, { signal: ending.signal });
    await until(() => lentBuffers() === 1 && server.bytesWritten > MiB, 'the receiver is full');
    ending.abort();
    const { bytes, code } = (await t.throwsAsync(sent)) as TransferError;
    t.is(code, 'ABORT_ERR');
    server.end('the end');
    const received = await collectToEnd(client);
    t.is(received.length, bytes + 'the end'.length);
    t.true(received.subarray(0, bytes).equals(pattern(16 * MiB).subarray(0, bytes)));
    t.is(received.subarray(bytes).toString(), 'the end');
  });
});

smallSerial('a receiver that goes away: it rejects, with what had left', async (t) => {
  await withEncryptedPair('TLSv1.3', async (server, client) => {
    server.on('error', () => {});
    const huge = writeFile(join(directory, 'left'), pattern(16 * MiB));
    const sent = sendFile(server, huge);
    await until(() => lentBuffers() === 1 && server.bytesWritten > MiB, 'the receiver is full');
    client.destroy();
    const { bytes, code } = (await t.throwsAsync(sent)) as TransferError;
    t.true(['ECONNRESET', 'EPIPE', 'ECANCELED'].includes(code as string), code);
    t.true(bytes < 16 * MiB);
  });
});

smallSerial('a file that gets shorter is not taken for whole; one that grows is sent as it was', async (t) => {
  const failures: unknown[] = [];
  let path = '';
  await withHttpsServer(
    'TLSv1.3',
    (_request, response) => {
      sendFile(response, path).catch((error: unknown) => failures.push(error));
    },
    async (port) => {
      for (const change of ['truncate', 'append'] as const) {
        path = writeFile(join(directory, change), pattern(16 * MiB));
        const client = await connectEncrypted('TLSv1.3', port);
        client.on('error', () => {});
        client.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
        await until(() => lentBuffers() === 1, 'it is under way');
        if (change === 'truncate') truncateSync(path, 8 * MiB);
        else appendFileSync(path, 'more');
        const received = await arrival(client);
        const start = received.indexOf('\r\n\r\n') + 4;
        if (change === 'append') t.true(received.subarray(start).equals(pattern(16 * MiB)));
        else t.true(received.length - start <= 8 * MiB);
      }
    },
  );
  t.deepEqual(
    failures.map((error) => (error as TransferError).code),
    ['ERR_FILE_TRUNCATED'],
  );
});

smallSerial('methods that others have replaced see every byte, in memory that is not used again', async (t) => {
  const kept: Buffer[] = [];
  await withHttpsServer(
    'TLSv1.3',
    (request, response) => {
      if (request.url === '/plain') return void sendFile(response, sized.get(256 * KiB) as string);
      const target = request.url === '/end' ? 'end' : 'write';
      const own = response[target] as (...args: unknown[]) => unknown;
      response[target] = ((...args: unknown[]) => {
        if (Buffer.isBuffer(args[0]) && args[0].length > 0) kept.push(args[0]);
        return Reflect.apply(own, response, args);
      }) as never;
      void sendFile(response, target === 'end' ? (sized.get(64 * KiB) as string) : big);
    },
    async (port) => {
      for (const [path, size] of [
        ['/end', 64 * KiB],
        ['/write', BIG],
      ] as const) {
        await getEncrypted('TLSv1.3', port, { path });
        // What is sent now goes through the memory that is free.
        for (let count = 0; count < 4; count++) await getEncrypted('TLSv1.3', port, { path: '/plain' });
        t.true(Buffer.concat(kept.splice(0)).equals(content.subarray(0, size)), path);
      }
    },
  );
});

smallSerial("fallback: 'never' says that it is TLS", async (t) => {
  await withEncryptedPair('TLSv1.3', async (server) => {
    const error = await t.throwsAsync(sendFile(server, big, { fallback: 'never' }));
    t.true(error instanceof KernelPathUnavailableError);
    t.regex(error?.message ?? '', /TLS/);
  });
});

const CONNECTIONS = isLongRun ? 400 : LENT_MAX + 16;
const { SO_SNDBUF, SOL_SOCKET } = constants;
const SO_RCVBUF = 8;

/** Little fits into the kernel, so that who does not read holds the sender up. */
function keepSmall(socket: net.Socket): void {
  const fd = descriptorOf(socket) as number;
  for (const option of [SO_RCVBUF, SO_SNDBUF]) syscalls.setsockopt(fd, SOL_SOCKET, option, 16 * KiB);
}

async function connectSmall(version: TlsVersion, port: number): Promise<tls.TLSSocket> {
  const socket = net.connect(port, '127.0.0.1');
  await once(socket, 'connect');
  keepSmall(socket);
  const client = tls.connect({ socket, ...clientOptionsOf(version) });
  await once(client, 'secureConnect');
  return client;
}

for (const version of TLS_VERSIONS) {
  smallSerial(
    `${version}: ${CONNECTIONS} downloads at once, more than there are buffers, by receivers that stall and trickle: every byte`,
    async (t) => {
      const files = Array.from({ length: 8 }, (_, index) => {
        const bytes = pattern((isLongRun ? 4 : 1) * MiB + index * 10_007);
        for (let at = 0; at < bytes.length; at += 1024) bytes[at] = index; // every piece says whose it is
        return { path: writeFile(join(directory, `many-${version}-${index}`), bytes), sha256: sha256(bytes) };
      });
      const server = https.createServer(serverOptionsOf(version), (request, response) => {
        void sendFile(response, files[Number(request.url?.slice(1)) % files.length]?.path as string);
      });
      server.on('connection', keepSmall);
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      const { port } = server.address() as AddressInfo;
      const ask = async (index: number): Promise<tls.TLSSocket> => {
        const client = await connectSmall(version, port);
        client.write(`GET /${index} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
        return client;
      };
      const receive = async (client: tls.TLSSocket, index: number): Promise<void> => {
        const chunks: Buffer[] = [];
        for await (const chunk of client) {
          chunks.push(chunk as Buffer);
          if (index % 3 === 0) await new Promise((resolve) => setImmediate(resolve)); // it trickles
        }
        const received = Buffer.concat(chunks);
        const body = received.subarray(received.indexOf('\r\n\r\n') + 4);
        t.is(sha256(body), files[index % files.length]?.sha256 as string);
      };
      const all = [...Array(CONNECTIONS).keys()];
      const stalled = await Promise.all(all.map(ask));
      await until(() => lentBuffers() === LENT_MAX, 'all buffers are lent');
      // Those that stall keep nobody waiting.
      for (const index of [0, 1, 2]) await receive(await ask(index), index);
      t.is(lentBuffers(), LENT_MAX);
      await Promise.all(stalled.map(receive));
      server.close();
    },
  );
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
