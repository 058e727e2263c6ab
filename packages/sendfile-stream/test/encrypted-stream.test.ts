/** createSendfileStream over TLS: copied beneath Node's pipe, which stays, with its events and its errors. */
import { tracingChannel } from 'node:diagnostics_channel';
import fs, { truncateSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { TLSSocket } from 'node:tls';
import { TRANSFER_CHANNEL, type TransferTrace } from '@zerocopy/core-syscalls';
import { createSendfileStream, type SendfileReadStream } from '@zerocopy/sendfile-stream';
import { lentBuffers } from '@zerocopy/sendfile-stream/route';
import { arrival, collect as collectToEnd } from '@zerocopy/testing/sockets';
import {
  connectEncrypted,
  getEncrypted,
  TLS_VERSIONS,
  withEncryptedPair,
  withHttpsServer,
} from '@zerocopy/testing/tls';
import test from 'ava';
import { KiB, MiB, pattern, record, smallSerial, temporaryDirectory, until, writeFile } from './harness.js';

const directory = temporaryDirectory();
const REASON = 'the connection is encrypted (TLS)';
const BIG = 3 * MiB + 12_345;
const HUGE = 16 * MiB;
const content = pattern(BIG);
const big = writeFile(join(directory, 'big'), content);
const huge = writeFile(join(directory, 'huge'), pattern(HUGE));
const small = writeFile(join(directory, 'small'), content.subarray(0, 64 * KiB));

test.afterEach.always(() => until(() => lentBuffers() === 0, 'all buffers are given back'));

const copied = (t: { like: (a: object, b: object) => unknown }, stream: SendfileReadStream, bytes: number): void => {
  t.like(
    { method: stream.method, reason: stream.fallbackReason, sent: stream.bytesSent, read: stream.bytesRead },
    { method: 'copy', reason: REASON, sent: bytes, read: bytes },
  );
};

for (const version of TLS_VERSIONS) {
  smallSerial(`${version}: through pipeline, pipe and a range, with a length and in chunks`, async (t) => {
    const send = async (response: ServerResponse, url: string): Promise<void> => {
      if (url === '/length') response.setHeader('Content-Length', BIG);
      if (url === '/chunked') response.writeHead(200);
      if (url === '/small') return pipeline(createSendfileStream(small), response);
      if (url === '/part') {
        response.write('before');
        const stream = createSendfileStream(big, { start: 100, end: 2_000_000 });
        stream.pipe(response, { end: false }).on('unpipe', () => {
          copied(t, stream, 1_999_901);
          response.end('after');
        });
        return;
      }
      const stream = createSendfileStream(big);
      const told: number[] = [];
      stream.on('progress', (bytes) => told.push(bytes));
      if (url === '/pipe') stream.pipe(response).on('finish', () => copied(t, stream, BIG));
      else {
        await pipeline(stream, response);
        copied(t, stream, BIG);
        t.is(told.at(-1), BIG);
      }
    };
    const part = Buffer.concat([Buffer.from('before'), content.subarray(100, 2_000_001), Buffer.from('after')]);
    await withHttpsServer(
      version,
      (request, response) => void send(response, request.url as string),
      async (port) => {
        for (const path of ['/announced', '/length', '/chunked', '/small', '/pipe', '/part']) {
          const { body, headers } = await getEncrypted(version, port, { path });
          const expected = path === '/part' ? part : path === '/small' ? content.subarray(0, 64 * KiB) : content;
          t.true(body.equals(expected), path);
          t.is(headers['content-length'] === undefined, path === '/chunked' || path === '/part', path);
        }
      },
    );
  });
}

smallSerial('the events of both ends, in the order of fs.createReadStream', async (t) => {
  const events: string[][] = [];
  for (const open of [fs.createReadStream, createSendfileStream]) {
    await withEncryptedPair('TLSv1.3', async (server, client) => {
      const received = collectToEnd(client);
      const stream = open(big);
      const log: string[] = [];
      record(log, 'source', stream, ['open', 'ready', 'end', 'close', 'error']);
      record(log, 'destination', server, ['pipe', 'unpipe', 'finish', 'error']);
      stream.pipe(server);
      t.true((await received).equals(content));
      await until(() => stream.closed);
      events.push(log);
    });
  }
  t.deepEqual(events[1], events[0]);
});

/** What puts an end to the copying in the middle, and what the receiver has to get in all. */
const DISTURBED: Record<string, (stream: SendfileReadStream, server: TLSSocket) => void> = {
  'a data listener': (stream) => stream.on('data', () => {}),
  'a pause': (stream) => {
    stream.pause();
    setImmediate(() => stream.resume());
  },
  'unpipe, and pipe again': (stream, server) => {
    stream.unpipe(server);
    stream.pipe(server);
  },
};

for (const [name, disturb] of Object.entries(DISTURBED)) {
  smallSerial(`${name} in the middle: Node goes on at the byte that has been reached`, async (t) => {
    await withEncryptedPair('TLSv1.3', async (server, client) => {
      const stream = createSendfileStream(huge);
      stream.pipe(server);
      await until(() => lentBuffers() === 1 && server.bytesWritten > MiB, 'the receiver is full');
      disturb(stream, server);
      const received = await collectToEnd(client);
      t.true(received.equals(pattern(HUGE)));
      t.is(stream.bytesRead, HUGE);
    });
  });
}

smallSerial('an encoding in the middle: as of fs.createReadStream, what follows is text', async (t) => {
  await withEncryptedPair('TLSv1.3', async (server, client) => {
    const stream = createSendfileStream(huge);
    stream.pipe(server);
    await until(() => lentBuffers() === 1 && server.bytesWritten > MiB, 'the receiver is full');
    stream.setEncoding('latin1');
    await collectToEnd(client);
    t.is(stream.fallbackReason, 'an encoding was set');
    t.is(stream.bytesRead, HUGE);
  });
});

smallSerial('destroyed in the middle, or left by its receiver: no more bytes, published once', async (t) => {
  const ends: TransferTrace[] = [];
  const subscribers = { asyncEnd: (message: unknown) => ends.push(message as TransferTrace) };
  const channel = tracingChannel<string, TransferTrace>(TRANSFER_CHANNEL);
  channel.subscribe(subscribers as never);
  try {
    for (const who of ['stream', 'client'] as const) {
      await withEncryptedPair('TLSv1.3', async (server, client) => {
        server.on('error', () => {});
        client.on('error', () => {});
        const stream = createSendfileStream(huge);
        const sent = pipeline(stream, server);
        await until(() => lentBuffers() === 1 && server.bytesWritten > MiB, 'the receiver is full');
        (who === 'stream' ? stream : client).destroy();
        await t.throwsAsync(sent);
        await until(() => stream.closed && ends.length > 0, 'it is over');
        t.is(stream.fd, null);
        const [end, ...others] = ends.splice(0);
        t.deepEqual(others, []);
        t.is(end?.method, 'copy');
        t.true((end?.bytes as number) < HUGE);
        // Nobody moves the rest: of a stream that is destroyed by hand, too.
        const { code } = (end?.error ?? {}) as { code?: string };
        t.regex(code ?? 'none', who === 'stream' ? /^ECONNRESET$/ : /^(ECONNRESET|EPIPE)$/, who);
      });
    }
  } finally {
    channel.unsubscribe(subscribers as never);
  }
});

smallSerial('a file that gets shorter on its way destroys the connection', async (t) => {
  const path = writeFile(join(directory, 'shorter'), pattern(HUGE));
  await withHttpsServer(
    'TLSv1.3',
    (_request, response) => {
      t.throwsAsync(pipeline(createSendfileStream(path), response), { code: 'ERR_FILE_TRUNCATED' }).catch(() => {});
    },
    async (port) => {
      const client = await connectEncrypted('TLSv1.3', port);
      client.on('error', () => {});
      client.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
      await until(() => lentBuffers() === 1, 'it is under way');
      truncateSync(path, 8 * MiB);
      t.true((await arrival(client)).length < 9 * MiB);
    },
  );
});

smallSerial("fallback: 'never' fails, and says that it is TLS", async (t) => {
  await withEncryptedPair('TLSv1.3', async (server) => {
    await t.throwsAsync(pipeline(createSendfileStream(big, { fallback: 'never' }), server), {
      code: 'ERR_ZEROCOPY_UNAVAILABLE',
      message: /TLS/,
    });
  });
});
