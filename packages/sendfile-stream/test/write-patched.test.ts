/** Code that is put in front of what bytes pass through sees every byte, whenever it was put there; and when it is gone, the kernel sends. */
import http, { OutgoingMessage } from 'node:http';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  collect,
  get,
  kernelSerial,
  kernelTest,
  pattern,
  pause,
  temporaryDirectory,
  withHttpServer,
  withSockets,
  writeFile,
} from './harness.js';

type Write = (this: unknown, chunk: unknown, ...rest: unknown[]) => unknown;

/** Counts the bytes that pass through `owner[name]` until `restore` is called. */
function wrap(owner: object, name: string): { bytes(): number; restore(): void } {
  const before = Object.getOwnPropertyDescriptor(owner, name);
  const original = (owner as Record<string, Write>)[name] as Write;
  let bytes = 0;
  const wrapper: Write = function (chunk, ...rest) {
    const chunks = name === '_writev' ? (chunk as { chunk: Uint8Array }[]).map((write) => write.chunk) : [chunk];
    for (const one of chunks)
      bytes += typeof one === 'string' ? Buffer.byteLength(one) : ((one as Buffer | null)?.length ?? 0);
    return Reflect.apply(original, this, [chunk, ...rest]);
  };
  Object.defineProperty(owner, name, { value: wrapper, configurable: true, writable: true });
  return {
    bytes: () => bytes,
    restore: () => {
      if (before === undefined) Reflect.deleteProperty(owner, name);
      else Object.defineProperty(owner, name, before);
    },
  };
}

const size = 300_000;
const content = pattern(size);
const path = writeFile(join(temporaryDirectory(), 'content'), content);

// A tracer is loaded before anything else, as by --require.
const early = wrap(OutgoingMessage.prototype, 'write');
const { createSendfileStream, sendFile } = await import('@zerocopy/sendfile-stream');

interface Outcome {
  readonly method: string | undefined;
  readonly reason: string | undefined;
  readonly body: Buffer;
}

async function overHttp(): Promise<Outcome> {
  let stream: ReturnType<typeof createSendfileStream> | undefined;
  let body: Buffer = Buffer.alloc(0);
  await withHttpServer(
    (_request, response) => {
      stream = createSendfileStream(path);
      pipeline(stream, response).catch(() => {});
    },
    async (port) => {
      ({ body } = await get(port));
    },
  );
  return { method: stream?.method, reason: stream?.fallbackReason, body };
}

async function overSocket(before: (server: Socket) => Promise<void> | void = () => {}): Promise<Outcome> {
  let outcome: Outcome | undefined;
  await withSockets('tcp', async (server, client) => {
    const received = collect(client);
    await before(server);
    const { method, fallbackReason } = await sendFile(server, path);
    server.end();
    outcome = { method, reason: fallbackReason, body: (await received).subarray(-size) };
  });
  return outcome as Outcome;
}

kernelSerial('a wrapper that was there before this package was imported sees all of a body', async (t) => {
  const { method, reason, body } = await overHttp();
  t.true(body.equals(content));
  t.true(early.bytes() >= size);
  t.is(method, 'copy');
  t.regex(reason ?? '', /write\(\) of the HTTP message has been replaced/);
  early.restore();
  t.is((await overHttp()).method, 'sendfile');
});

for (const name of ['write', '_send', '_writeRaw'] as const) {
  kernelSerial(`a wrapper of OutgoingMessage.prototype.${name} that comes later sees all of a body`, async (t) => {
    t.is((await overHttp()).method, 'sendfile');
    const wrapper = wrap(OutgoingMessage.prototype, name);
    try {
      const { method, body } = await overHttp();
      t.true(body.equals(content));
      t.true(wrapper.bytes() >= size);
      t.is(method, 'copy');
    } finally {
      wrapper.restore();
    }
    t.is((await overHttp()).method, 'sendfile');
  });
}

kernelSerial('a subclass of ServerResponse that overrides write sees all of a body', async (t) => {
  let seen = 0;
  class Counting extends http.ServerResponse {
    override write(...args: unknown[]): boolean {
      seen += (args[0] as Buffer).length;
      return Reflect.apply(super.write, this, args);
    }
  }
  const server = http.createServer({ ServerResponse: Counting as typeof http.ServerResponse }, (_request, response) => {
    pipeline(createSendfileStream(path), response).catch(() => {});
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { body } = await get((server.address() as { port: number }).port);
  server.closeAllConnections();
  server.close();
  t.true(body.equals(content));
  t.is(seen, size);
});

for (const [owner, name, what] of [
  [Socket.prototype, 'write', 'Socket.prototype.write'],
  [Socket.prototype, '_write', 'Socket.prototype._write'],
  [Socket.prototype, '_writeGeneric', 'Socket.prototype._writeGeneric'],
  [Duplex.prototype, 'write', 'Duplex.prototype.write'],
] as const) {
  kernelSerial(`a wrapper of ${what} sees all of a file`, async (t) => {
    t.is((await overSocket()).method, 'sendfile');
    const wrapper = wrap(owner, name);
    let outcome: Outcome;
    try {
      outcome = await overSocket();
    } finally {
      wrapper.restore();
    }
    t.true(outcome.body.equals(content));
    // _writeGeneric is given the chunk as its second argument.
    if (name !== '_writeGeneric') t.true(wrapper.bytes() >= size);
    t.is(outcome.method, 'copy');
    t.regex(outcome.reason ?? '', /write methods have been replaced/);
    t.is((await overSocket()).method, 'sendfile');
  });
}

kernelSerial('a _write that is put on a socket after it has sent a file sees all of the next', async (t) => {
  let wrapper: ReturnType<typeof wrap> | undefined;
  const { method, body } = await overSocket(async (server) => {
    t.is((await sendFile(server, path)).method, 'sendfile');
    wrapper = wrap(server, '_write');
  });
  t.true(body.equals(content));
  t.is(method, 'copy');
  t.true((wrapper?.bytes() ?? 0) >= size);
});

kernelSerial("a function with the text of an everyday one is not taken for Node's own", async (t) => {
  let asked = false;
  const { method } = await overSocket((server) => {
    const { _writev } = server;
    server._writev = (() => {}) as never;
    asked = true;
    setImmediate(() => {
      server._writev = _writev as never;
    });
  });
  t.true(asked);
  t.is(method, 'copy');
});

kernelTest('a write() that others have replaced, and that returns nothing, holds nothing up', async (t) => {
  let sent: Promise<unknown> | undefined;
  await withHttpServer(
    (_request, response) => {
      const { write } = response;
      response.write = ((...args: Parameters<typeof write>) => {
        Reflect.apply(write, response, args);
      }) as unknown as typeof write;
      // Its last piece is so short that no 'drain' follows.
      sent = sendFile(response, path, { end: 199_999 }).catch((error) => error);
    },
    async (port) => {
      t.true((await get(port)).body.equals(content.subarray(0, 200_000)));
      t.like(await Promise.race([sent, pause(2000)]), { bytes: 200_000, method: 'copy' });
    },
  );
});
