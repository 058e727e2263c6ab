import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, createReadStream, openSync, readdirSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import http from 'node:http';
import { connect, createServer, type Socket } from 'node:net';
import { PassThrough, Transform } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { check, constants, descriptorOf, libcStatus, OwnedDescriptor, syscalls } from '@zerocopy/core-syscalls';
import { connectedPair, destroyed, type Pair } from '@zerocopy/testing/sockets';
import { until } from '@zerocopy/testing/waiting';
import { hasOnRead, requestWriteSlot, takeSocketForReading, type WriteSlot } from '@zerocopy/transfer';
import test from 'ava';

const status = libcStatus();
const onLinux = status.available ? test.serial : test.skip;
if (!status.available) test.skip(`streams: ${status.reason}`, () => {});

async function socketPair(): Promise<Pair & { close(): Promise<void> }> {
  const pair = await connectedPair('tcp');
  return { ...pair, close: () => closed(pair) };
}

const closed = async ({ server, client }: Pair): Promise<void> => {
  await Promise.all([destroyed(server), destroyed(client)]);
};

function collect(socket: Socket): { text(): string } {
  let text = '';
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
  });
  return { text: () => text };
}

const turnOf = (socket: Socket): Promise<WriteSlot> =>
  new Promise((resolve, reject) => {
    requestWriteSlot(socket, socket, {
      begin: resolve,
      dropped: () => reject(new Error('dropped')),
      lost: (error) => reject(error ?? new Error('lost')),
    });
  });

onLinux('descriptorOf finds plain descriptors, and null elsewhere', async (t) => {
  const pair = await socketPair();
  const fd = descriptorOf(pair.server);
  t.is(typeof fd, 'number');
  t.is(syscalls.getsockopt(fd as number, constants.SOL_SOCKET, constants.SO_TYPE), constants.SOCK_STREAM);
  t.is(descriptorOf(7), 7);
  for (const nothing of [-1, 1.5, Number.NaN, '3', null, undefined, {}, new PassThrough(), new Transform()]) {
    t.is(descriptorOf(nothing), null);
  }
  t.is(descriptorOf(new TLSSocket(pair.client)), null);
  const handle = await open(process.execPath);
  t.is(descriptorOf(handle), handle.fd);
  await handle.close();
  t.is(descriptorOf(handle), null);
  const stream = createReadStream(process.execPath);
  t.is(descriptorOf(stream), null, 'not open yet');
  await once(stream, 'open');
  t.is(typeof descriptorOf(stream), 'number');
  stream.destroy();
  const child = spawn(process.execPath, ['-e', '1']);
  t.is(typeof descriptorOf(child.stdin), 'number');
  await once(child, 'close');
  t.is(descriptorOf(child.stdin), null);
  await pair.close();
  t.is(descriptorOf(pair.server), null);
});

onLinux('descriptorOf finds the connection of HTTP messages', async (t) => {
  const server = http.createServer((request, response) => {
    t.is(descriptorOf(response), descriptorOf(request.socket));
    t.is(descriptorOf(request), descriptorOf(request.socket));
    response.end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const request = http.get({ port: (server.address() as { port: number }).port, host: '127.0.0.1', agent: false });
  t.is(descriptorOf(request), null);
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  t.is(descriptorOf(request), descriptorOf(response.socket));
  response.resume();
  await once(response, 'end');
  server.close();
});

onLinux('an owned duplicate is close-on-exec, survives the original and closes once (kernel-rules: fd-reuse)', (t) => {
  const fd = openSync(process.execPath, 'r');
  const own = OwnedDescriptor.duplicate(fd);
  t.is(syscalls.fcntl(own.fd, constants.F_GETFD), 1);
  closeSync(fd);
  t.is(syscalls.read(own.fd, Buffer.alloc(4), 4), 4);
  const number = own.fd;
  own.close();
  t.is(own.fd, -1);
  t.is(syscalls.read(number, Buffer.alloc(4), 4), -constants.EBADF);
  const reused = openSync(process.execPath, 'r');
  own.close();
  t.is(syscalls.read(reused, Buffer.alloc(4), 4), 4, 'a second close must not hit a reused number');
  closeSync(reused);
  t.throws(() => OwnedDescriptor.duplicate(-1), { code: 'EBADF' });
});

onLinux('a slot keeps earlier and later writes in their order (kernel-rules: user-space-queues)', async (t) => {
  const pair = await socketPair();
  const received = collect(pair.client);
  pair.server.write('earlier ');
  const asked = turnOf(pair.server);
  pair.server.write(' later');
  const turn = await asked;
  pair.server.cork();
  pair.server.write(' corked');
  pair.server.uncork();
  await until(() => received.text().length >= 'earlier '.length);
  await new Promise((resolve) => setTimeout(resolve, 10));
  t.is(received.text(), 'earlier ', 'later writes wait for the end of the turn');
  const bytes = Buffer.from('[kernel]');
  check(syscalls.send(turn.descriptor(), bytes, bytes.length, 0), 'send');
  turn.moved(bytes.length);
  await new Promise<void>((resolve) => turn.write(Buffer.from('[stream]'), () => resolve()));
  turn.end();
  await until(() => received.text().length >= 36);
  t.is(received.text(), 'earlier [kernel][stream] later corked');
  t.is(pair.server.bytesWritten, received.text().length);
  await pair.close();
});

onLinux('what is written as a turn begins is not lost, though it came in a _writev', async (t) => {
  const pair = await socketPair();
  const received = collect(pair.client);
  let written = false;
  pair.server.cork();
  pair.server.write('before ');
  requestWriteSlot(pair.server, pair.server, {
    begin(turn) {
      pair.server.write(' after', () => {
        written = true;
      });
      turn.write(Buffer.from('[turn]'), () => turn.end());
    },
    dropped: () => t.fail(),
    lost: () => t.fail(),
  });
  pair.server.uncork();
  await until(() => written);
  await until(() => received.text() === 'before [turn] after');
  t.pass();
  await pair.close();
});

onLinux('turns are queued, also in one _writev, and while connecting', async (t) => {
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const accepted = once(listener, 'connection');
  const client = connect((listener.address() as { port: number }).port, '127.0.0.1');
  const order: string[] = [];
  client.cork();
  client.write('a');
  for (const name of ['b', 'c']) {
    requestWriteSlot(client, client, {
      begin(turn) {
        order.push(name);
        turn.write(Buffer.from(name), () => turn.end());
      },
      dropped: () => t.fail(),
      lost: () => t.fail(),
    });
  }
  client.write('d');
  client.uncork();
  client.end('e');
  const [server] = (await accepted) as [Socket];
  const received = collect(server);
  await once(server, 'end');
  t.is(received.text(), 'abcde');
  t.deepEqual(order, ['b', 'c']);
  server.destroy();
  listener.close();
});

onLinux('a turn on a lost connection is told so: requested, held, and with an error', async (t) => {
  const held = await socketPair();
  const outcomes: string[] = [];
  const handlers = (name: string): Parameters<typeof requestWriteSlot>[2] => ({
    begin: () => outcomes.push(`${name} begin`),
    dropped: () => outcomes.push(`${name} dropped`),
    lost: (error) => outcomes.push(`${name} lost ${error?.message ?? ''}`.trim()),
  });
  requestWriteSlot(held.server, held.server, handlers('first'));
  requestWriteSlot(held.server, held.server, handlers('second'));
  await until(() => outcomes.length === 1);
  held.server.on('error', () => {});
  held.server.destroy(new Error('reset'));
  await until(() => outcomes.length === 3);
  t.deepEqual(outcomes.sort(), ['first begin', 'first lost reset', 'second lost reset']);
  t.is(held.server.listenerCount('close'), 1, 'one listener for the life of the socket');
  await held.close();
});

onLinux('a cancelled request lets the queue pass; an error fails the socket as a write of its own would', async (t) => {
  const pair = await socketPair();
  const received = collect(pair.client);
  pair.server.cork();
  const request = requestWriteSlot(pair.server, pair.server, {
    begin: () => t.fail(),
    dropped: () => t.fail(),
    lost: () => t.fail(),
  });
  request.cancel();
  pair.server.write('after');
  pair.server.uncork();
  await until(() => received.text() === 'after');
  const turn = await turnOf(pair.server);
  const failed = once(pair.server, 'error');
  turn.end(Object.assign(new Error('broken'), { code: 'EPIPE' }));
  const [error] = (await failed) as [NodeJS.ErrnoException];
  t.is(error.code, 'EPIPE');
  t.true(pair.server.destroyed);
  t.is(turn.descriptor(), -1);
  await pair.close();
});

onLinux('taking a socket over: what Node had read comes first, and nothing is read behind our back', async (t) => {
  const pair = await socketPair();
  pair.client.write('in user space');
  await until(() => pair.server.readableLength === 13);
  const taken = takeSocketForReading(pair.server);
  t.truthy(taken);
  if (taken === null) return;
  t.is(taken.takeHead().toString(), 'in user space');
  t.false(taken.ended);
  pair.client.write('in the kernel');
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.is(pair.server.readableLength, 0);
  const buffer = Buffer.alloc(64);
  const bytes = check(syscalls.recv(taken.descriptor(), buffer, 64, constants.MSG_DONTWAIT), 'recv');
  taken.moved(bytes);
  t.is(buffer.toString('latin1', 0, bytes), 'in the kernel');
  t.is(pair.server.bytesRead, 26);
  t.is(takeSocketForReading(pair.server), null, 'it is taken already');

  taken.giveBack({ unread: Buffer.from('unread, '), resume: true });
  const received = collect(pair.server);
  pair.client.end('and the rest');
  await once(pair.server, 'end');
  t.is(received.text(), 'unread, and the rest');
  t.is(pair.server.bytesRead, 38);
  await pair.close();
});

onLinux('a taken socket that had ended says so, and still ends once given back', async (t) => {
  const pair = await socketPair();
  pair.client.end('last words');
  const state = (pair.server as unknown as { _readableState: { ended: boolean; length: number } })._readableState;
  await until(() => state.length === 10 && state.ended);
  const taken = takeSocketForReading(pair.server);
  t.is(taken?.takeHead().toString(), 'last words');
  t.true(taken?.ended);
  const ended = once(pair.server, 'end');
  taken?.giveBack({ resume: true });
  await ended;
  await pair.close();
});

onLinux('thousands of turns leave no descriptor and no listener behind', async (t) => {
  const pair = await socketPair();
  pair.client.resume();
  const before = readdirSync('/proc/self/fd').length;
  for (let n = 0; n < 2000; n++) {
    const turn = await turnOf(pair.server);
    turn.end();
  }
  t.is(readdirSync('/proc/self/fd').length, before);
  for (const event of ['close', 'error', 'connect', 'drain']) t.true(pair.server.listenerCount(event) <= 2, event);
  await pair.close();
  t.notThrows(() => writeFileSync('/dev/null', ''));
});

onLinux('a socket that has its bytes called back (onread) is not taken: they would be divided', async (t) => {
  const listener = createServer((accepted) => accepted.on('error', () => {}).end('for the callback'));
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as { port: number };
  for (const buffer of [Buffer.alloc(64), (): Buffer => Buffer.alloc(64)]) {
    let got = '';
    const callback = (bytes: number, chunk: Uint8Array): boolean => {
      got += Buffer.from(chunk.subarray(0, bytes)).toString();
      return true;
    };
    const socket = connect({ port, host: '127.0.0.1', onread: { buffer, callback } });
    await once(socket, 'connect');
    t.true(hasOnRead(socket));
    t.is(takeSocketForReading(socket), null);
    await once(socket.resume(), 'end');
    t.is(got, 'for the callback');
    socket.destroy();
  }
  const plain = connect({ port, host: '127.0.0.1' });
  await once(plain, 'connect');
  t.false(hasOnRead(plain));
  plain.destroy();
  listener.close();
});

onLinux('a write of a slot that its socket’s closing cancels is no success, on any Node', async (t) => {
  const { server, client, close } = await socketPair();
  client.on('error', () => {});
  server.on('error', () => {});
  const failed = await new Promise<Error | null | undefined>((resolve) => {
    requestWriteSlot(server, server, {
      begin(slot) {
        slot.write(Buffer.alloc(64 * 1024 * 1024), resolve);
        setImmediate(() => server.destroy());
      },
      dropped: () => t.fail(),
      lost: () => {},
    });
  });
  t.is((failed as NodeJS.ErrnoException).code, 'ECANCELED');
  await close();
});
