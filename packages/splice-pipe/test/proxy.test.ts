/** Two connections joined: ends, failures, time-outs, counts, and what it costs to hold a thousand of them. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import net, { type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { TransferError } from '@zerocopy/core-syscalls';
import { ProxyError, type ProxyOptions, type ProxyResult, pipePoolStats, proxy } from '@zerocopy/splice-pipe';
import { turn } from '@zerocopy/testing/waiting';
import test from 'ava';
import {
  collect,
  gather,
  KiB,
  type Kind,
  kernelSerial,
  kernelTest,
  listen,
  MiB,
  openDescriptors,
  pattern,
  pause,
  temporaryDirectory,
  until,
  withPair,
} from './harness.js';

const directory = temporaryDirectory();

interface Joined {
  /** The two ends that talk to each other through the proxy. */
  readonly client: Socket;
  readonly upstream: Socket;
  /** The two that the proxy joins. */
  readonly a: Socket;
  readonly b: Socket;
  readonly result: Promise<ProxyResult>;
}

async function joined(
  kinds: readonly [Kind, Kind],
  options: ProxyOptions,
  use: (sockets: Joined) => Promise<void>,
): Promise<void> {
  await withPair(kinds[0], directory, async ({ server: a, client }) => {
    await withPair(kinds[1], directory, async ({ server: b, client: upstream }) => {
      for (const socket of [client, upstream]) socket.on('error', () => {});
      const result = proxy(a, b, options);
      result.catch(() => {});
      await use({ client, upstream, a, b, result });
    });
  });
}

async function failure(result: Promise<unknown>): Promise<ProxyError> {
  const error = await result.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof ProxyError)) throw new Error(`not a ProxyError: ${error}`);
  return error;
}

for (const [what, bytes] of Object.entries({ nothing: 0, 'a little': 1000, much: MiB })) {
  kernelTest(
    `a socket that its owner destroys while it writes, and ${what} is to come behind that: it is gone, and nothing was cancelled`,
    async (t) => {
      await joined(['unix', 'unix'], {}, async ({ client, upstream, b, result }) => {
        upstream.pause();
        b.write(pattern(4 * MiB)); // waits: Node says from 22 on that the closing cancelled it
        if (bytes > 0) client.write(pattern(bytes));
        for (let turns = 20; turns > 0; turns--) await turn();
        b.destroy();
        const { code } = await failure(result);
        // A write that had not begun is destroyed with its stream, and on Node 20 that is told first.
        t.true(['ECONNRESET', 'ERR_STREAM_DESTROYED'].includes(code), code);
      });
    },
  );
}

for (const kinds of [
  ['tcp', 'tcp'],
  ['tcp', 'unix'],
  ['unix', 'tcp'],
  ['unix', 'unix'],
] as const) {
  for (const first of ['client', 'upstream'] as const) {
    kernelTest(`${kinds.join(' and ')}: both directions at once, the ${first} half-closes first`, async (t) => {
      await joined(kinds, {}, async ({ client, upstream, a, b, result }) => {
        const [up, down] = [pattern(5 * MiB + 1), pattern(3 * MiB + 7).reverse()];
        const received = [collect(upstream), collect(client)] as const;
        const [early, late] = first === 'client' ? [client, upstream] : [upstream, client];
        client.write(up);
        upstream.write(down);
        early.end();
        await once(late, 'end');
        t.false(early.readableEnded, 'the other direction is still open');
        late.end('.');
        t.true((await received[0]).equals(first === 'client' ? up : Buffer.concat([up, Buffer.from('.')])));
        t.true((await received[1]).equals(first === 'client' ? Buffer.concat([down, Buffer.from('.')]) : down));
        const { forward, backward } = await result;
        t.is(forward.bytes, up.length + (first === 'client' ? 0 : 1));
        t.is(backward.bytes, down.length + (first === 'client' ? 1 : 0));
        t.is(forward.method, 'splice');
        t.is(backward.method, 'splice');
        t.is(a.bytesRead, forward.bytes);
        t.is(b.bytesWritten, forward.bytes);
        t.is(a.bytesWritten, backward.bytes);
        await until(() => a.destroyed && b.destroyed, 'Node closed both');
        t.is(a.errored ?? b.errored, null);
      });
    });
  }
}

kernelTest('a half-close is forwarded only after the pipe has drained (kernel-rules: half-close)', async (t) => {
  await joined(['tcp', 'tcp'], {}, async ({ client, upstream, result }) => {
    const size = 24 * MiB; // more than all buffers on the way, and a pipe
    client.end(pattern(size));
    await pause(100); // the upstream does not read: bytes stand in the pipe and behind it
    const hash = createHash('sha256');
    let received = 0;
    upstream.on('data', (chunk: Buffer) => {
      received += chunk.length;
      hash.update(chunk);
    });
    await once(upstream, 'end');
    t.is(received, size);
    t.is(hash.digest('hex'), createHash('sha256').update(pattern(size)).digest('hex'));
    upstream.end();
    t.is((await result).forward.bytes, size);
  });
});

kernelTest(
  'a socket that has brought its end, and got the other one, may close while its last bytes still wait',
  async (t) => {
    await withPair('tcp', directory, async ({ server: a, client }) => {
      await withPair('tcp', directory, async ({ server: b, client: upstream }) => {
        const before = pattern(16 * MiB);
        client.pause();
        a.write(before); // more than the kernel takes: what follows has to wait
        client.end();
        upstream.end('the last');
        b.pause().read(0);
        await until(() => b.readableLength === 8);
        const result = proxy(a, b);
        await until(() => b.destroyed);
        t.true(a.writableLength > 0);
        const received = await collect(client.resume());
        t.true(received.equals(Buffer.concat([before, Buffer.from('the last')])));
        const { forward, backward } = await result;
        t.deepEqual([forward.bytes, backward.bytes], [0, 8]);
        upstream.destroy();
      });
    });
  },
);

kernelTest('much comes, and the kernel may not move it: a source that waits for its destination goes on', async (t) => {
  await joined(['tcp', 'tcp'], {}, async ({ client, upstream, a, b, result }) => {
    let held = 0;
    // A listener that is seen when the source is to be taken, and has every large write wait.
    a.prependListener('data', (chunk: Buffer) => {
      if (chunk.length < 64 * KiB) return;
      held++;
      b.cork();
      setImmediate(() => b.uncork());
    });
    const content = pattern(8 * MiB);
    client.end(content);
    upstream.end();
    t.true((await collect(upstream)).equals(content));
    t.true(held > 2);
    const { forward } = await result;
    t.like(forward, { bytes: content.length, method: 'copy' });
    t.regex(forward.fallbackReason ?? '', /'data' or 'readable' listener/);
  });
});

kernelTest('nothing at all, from either side', async (t) => {
  await joined(['tcp', 'tcp'], {}, async ({ client, upstream, result }) => {
    client.resume().end();
    upstream.resume().end();
    t.like(await result, { forward: { bytes: 0 }, backward: { bytes: 0 } });
  });
});

for (const kind of ['tcp', 'unix'] as const) {
  kernelTest(`${kind}: one side is destroyed in the middle: both are gone, and the counts are exact`, async (t) => {
    await joined([kind, kind], {}, async ({ client, upstream, a, b, result }) => {
      const arrived = gather(upstream);
      client.write(pattern(100_000));
      await until(() => arrived.bytes().length === 100_000);
      upstream.write('answer');
      await once(client, 'readable');
      if (kind === 'tcp') client.resetAndDestroy();
      else b.destroy();
      const error = await failure(result);
      t.is(error.code, 'ECONNRESET');
      t.true(error instanceof TransferError);
      t.is(error.forward.bytes, 100_000);
      t.is(error.backward.bytes, 6);
      t.is(error.bytes, 100_006);
      await until(() => a.destroyed && b.destroyed);
    });
  });
}

kernelTest('a reset of one side reaches the other as a reset: nobody takes it for a proper end', async (t) => {
  await joined(['tcp', 'tcp'], {}, async ({ client, upstream, result }) => {
    client.write('x');
    await once(upstream, 'data');
    const error = once(upstream, 'error') as Promise<[NodeJS.ErrnoException]>;
    client.resetAndDestroy();
    t.is((await error)[0].code, 'ECONNRESET');
    t.is((await failure(result)).code, 'ECONNRESET');
  });
});

kernelTest('idleTimeout: a stalled reader ends it, with exactly the bytes that have gone', async (t) => {
  await joined(['tcp', 'tcp'], { idleTimeout: 800 }, async ({ client, a, b, result }) => {
    client.write(Buffer.alloc(40 * MiB));
    const error = await failure(result);
    t.is(error.code, 'ERR_IDLE_TIMEOUT');
    t.true(error.forward.bytes > 0 && error.forward.bytes < 40 * MiB, `${error.forward.bytes} bytes`);
    // At most one pipe's worth of what was read is neither there nor here.
    t.true(a.bytesRead - error.forward.bytes <= MiB, `${a.bytesRead} read, ${error.forward.bytes} sent`);
    t.true(a.destroyed && b.destroyed);
  });
});

kernelTest('idleTimeout: as long as anything passes, in either direction, it goes on', async (t) => {
  await joined(['tcp', 'tcp'], { idleTimeout: 1000 }, async ({ client, upstream, result }) => {
    client.resume();
    upstream.resume();
    for (let n = 0; n < 8; n++) {
      (n % 2 === 0 ? client : upstream).write('.');
      await pause(200);
    }
    client.end();
    upstream.end();
    const { forward, backward } = await result;
    t.is(forward.bytes + backward.bytes, 8);
  });
});

kernelTest('halfCloseTimeout bounds how long the other half stays open', async (t) => {
  await joined(['tcp', 'tcp'], { halfCloseTimeout: 100 }, async ({ client, upstream, a, b, result }) => {
    upstream.resume();
    client.resume().end('last');
    const error = await failure(result);
    t.is(error.code, 'ERR_HALF_CLOSE_TIMEOUT');
    t.is(error.forward.bytes, 4);
    t.true(a.destroyed && b.destroyed);
  });
});

kernelTest('signal: aborted before, and in the middle', async (t) => {
  await joined(['tcp', 'tcp'], { signal: AbortSignal.abort() }, async ({ a, b, result }) => {
    t.is((await failure(result)).code, 'ABORT_ERR');
    t.true(a.destroyed && b.destroyed);
  });
  const controller = new AbortController();
  await joined(['tcp', 'tcp'], { signal: controller.signal }, async ({ client, upstream, a, b, result }) => {
    client.write('12345');
    await once(upstream, 'data');
    controller.abort();
    const error = await failure(result);
    t.is(error.code, 'ABORT_ERR');
    t.is(error.forward.bytes, 5);
    t.true(a.destroyed && b.destroyed);
  });
});

kernelTest('head goes first, is counted, and what Node had read already follows it', async (t) => {
  await withPair('tcp', directory, async ({ server: a, client }) => {
    await withPair('tcp', directory, async ({ server: b, client: upstream }) => {
      const arrived = collect(upstream);
      client.resume();
      client.end('in user space');
      await until(() => a.readableLength > 0, 'Node has read ahead');
      const result = proxy(a, b, { head: Buffer.from('head, ') });
      t.is((await arrived).toString(), 'head, in user space');
      upstream.end();
      t.is((await result).forward.bytes, 19);
    });
  });
});

kernelTest('an upgraded HTTP connection becomes a tunnel: head, both directions, both ends', async (t) => {
  const upstream = net.createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
  upstream.listen(0, '127.0.0.1');
  await once(upstream, 'listening');
  const server = http.createServer();
  let result: Promise<ProxyResult> | undefined;
  server.on('connect', (_request: http.IncomingMessage, socket: Socket, head: Buffer) => {
    socket.write('HTTP/1.1 200 OK\r\n\r\n');
    result = proxy(socket, net.connect((upstream.address() as AddressInfo).port, '127.0.0.1'), { head });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = net.connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  client.write('CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\nearly '); // the head
  const echoed = collect(client);
  await once(client, 'readable');
  const body = pattern(2 * MiB);
  client.end(body);
  const expected = Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\n\r\nearly '), body]);
  t.true((await echoed).equals(expected));
  t.is((await (result as Promise<ProxyResult>)).forward.bytes, 6 + body.length);
  server.close();
  upstream.close();
});

kernelTest('PROXY protocol, version 1 and 2: once, before anything else, and not counted', async (t) => {
  for (const version of ['v1', 'v2'] as const) {
    await joined(['tcp', 'tcp'], { proxyProtocol: version }, async ({ client, upstream, a, result }) => {
      const arrived = collect(upstream);
      client.resume().end('hello');
      const bytes = await arrived;
      const [from, to] = [a.remotePort as number, a.localPort as number];
      if (version === 'v1') t.is(bytes.toString(), `PROXY TCP4 127.0.0.1 127.0.0.1 ${from} ${to}\r\nhello`);
      else {
        t.is(bytes.subarray(0, 12).toString('latin1'), '\r\n\r\n\0\r\nQUIT\n');
        t.deepEqual([...bytes.subarray(12, 24)], [0x21, 0x11, 0, 12, 127, 0, 0, 1, 127, 0, 0, 1]);
        t.is(bytes.readUInt16BE(24), from);
        t.is(bytes.readUInt16BE(26), to);
        t.is(bytes.subarray(28).toString(), 'hello');
      }
      upstream.end();
      t.is((await result).forward.bytes, 5);
    });
    await joined(['unix', 'unix'], { proxyProtocol: version }, async ({ client, upstream }) => {
      const arrived = collect(upstream);
      client.resume().end('hello');
      upstream.end();
      const expected = version === 'v1' ? 'PROXY UNKNOWN\r\n' : '\r\n\r\n\0\r\nQUIT\n\x20\0\0\0';
      t.is((await arrived).toString('latin1'), `${expected}hello`);
    });
  }
});

kernelTest('PROXY protocol over IPv6', async (t) => {
  const server = net.createServer();
  try {
    server.listen(0, '::1');
    await once(server, 'listening');
  } catch {
    t.log('not tested: this machine has no ::1');
    t.pass();
    return;
  }
  for (const version of ['v1', 'v2'] as const) {
    const accepted = once(server, 'connection') as Promise<[Socket]>;
    const client = net.connect((server.address() as AddressInfo).port, '::1');
    const [a] = await accepted;
    await withPair('tcp', directory, async ({ server: b, client: upstream }) => {
      const arrived = collect(upstream);
      const result = proxy(a, b, { proxyProtocol: version });
      const [from, to] = [a.remotePort as number, a.localPort as number];
      client.resume().end();
      upstream.end();
      const bytes = await arrived;
      if (version === 'v1') t.is(bytes.toString(), `PROXY TCP6 ::1 ::1 ${from} ${to}\r\n`);
      else {
        const loopback = [...Array(15).fill(0), 1];
        t.deepEqual([...bytes.subarray(12, 48)], [0x21, 0x21, 0, 36, ...loopback, ...loopback]);
        t.is(bytes.readUInt16BE(48), from);
        t.is(bytes.length, 52);
      }
      await result;
    });
    client.destroy();
  }
  server.close();
});

kernelTest('PROXY protocol: IPv6 addresses in every form that a system prints', async (t) => {
  for (const [text, bytes] of [
    ['2001:db8:1:2:3:4:5:6', '20010db8000100020003000400050006'],
    ['2001:db8::', '20010db8000000000000000000000000'],
    ['fe80::1%eth0', 'fe800000000000000000000000000001'],
    ['::192.0.2.33', '000000000000000000000000c0000221'],
    ['64:ff9b::192.0.2.33', '0064ff9b0000000000000000c0000221'],
    ['64:ff9b:1:2:3:4:192.0.2.33', '0064ff9b0001000200030004c0000221'],
  ] as const) {
    await withPair('tcp', directory, ({ server: a, client }) =>
      withPair('tcp', directory, async ({ server: b, client: upstream }) => {
        Object.defineProperty(a, 'remoteAddress', { value: text });
        Object.defineProperty(a, 'localAddress', { value: '::1' });
        const arrived = collect(upstream);
        const result = proxy(a, b, { proxyProtocol: 'v2' });
        client.resume().end();
        upstream.end();
        const header = await arrived;
        t.is(header.subarray(16, 32).toString('hex'), bytes, text);
        t.is(header.subarray(32, 48).toString('hex'), '00000000000000000000000000000001');
        await result;
      }),
    );
  }
});

kernelTest('an upstream that is still connecting, and one that refuses', async (t) => {
  const echo = await listen('tcp', directory, (socket) => socket.pipe(socket));
  await withPair('tcp', directory, async ({ server: a, client }) => {
    client.end('before the upstream is there');
    const result = proxy(a, net.connect(echo.address));
    t.is((await collect(client)).toString(), 'before the upstream is there');
    t.like(await result, { forward: { bytes: 28 }, backward: { bytes: 28 } });
  });
  echo.close();
  await withPair('unix', directory, async ({ server: a, client }) => {
    client.on('error', () => {});
    const error = await failure(proxy(a, net.connect(join(directory, 'nobody'))));
    t.is(error.code, 'ENOENT');
    t.true(a.destroyed);
  });
});

test('what is no socket, and options that are none, are refused at the edge; the sockets are untouched', async (t) => {
  await withPair('tcp', directory, async ({ server, client }) => {
    const listeners = server.listenerCount('error');
    await t.throwsAsync(proxy(server, {} as Socket), { code: 'ERR_INVALID_ARG_TYPE', message: /'b' must be/ });
    await t.throwsAsync(proxy({} as Socket, server), { code: 'ERR_INVALID_ARG_TYPE', message: /'a' must be/ });
    for (const [options, code] of [
      [{ idleTimeout: -1 }, 'ERR_OUT_OF_RANGE'],
      [{ halfCloseTimeout: '1' }, 'ERR_INVALID_ARG_TYPE'],
      [{ signal: {} }, 'ERR_INVALID_ARG_TYPE'],
      [{ proxyProtocol: 'v3' }, 'ERR_INVALID_ARG_VALUE'],
      [{ onProgress: 1 }, 'ERR_INVALID_ARG_TYPE'],
      [{ head: 'text' }, 'ERR_INVALID_ARG_TYPE'],
    ] as const) {
      await t.throwsAsync(proxy(server, client, options as unknown as ProxyOptions), { code });
    }
    t.is(server.listenerCount('error'), listeners);
    server.write('ok');
    t.is(String((await once(client, 'data'))[0]), 'ok');
  });
});

kernelTest('onProgress tells both counts; what it throws ends the proxy', async (t) => {
  const seen: [number, number][] = [];
  await joined(
    ['tcp', 'tcp'],
    { onProgress: (...counts) => seen.push(counts) },
    async ({ client, upstream, result }) => {
      upstream.resume().end('answer');
      client.resume().end(pattern(MiB));
      await result;
      t.deepEqual(seen.at(-1), [MiB, 6]);
    },
  );
  const onProgress = (): void => {
    throw new Error('from the callback');
  };
  await joined(['tcp', 'tcp'], { onProgress }, async ({ client, a, b, result }) => {
    client.write('x');
    t.is((await failure(result)).message, 'from the callback');
    t.true(a.destroyed && b.destroyed);
  });
});

kernelSerial('64 bytes to and fro: copied, in order, without a pipe, and with few calls', async (t) => {
  await joined(['tcp', 'tcp'], {}, async ({ client, upstream, result }) => {
    upstream.setNoDelay(true).on('data', (chunk: Buffer) => upstream.write(chunk));
    client.setNoDelay(true);
    const rounds = 500;
    const { created } = pipePoolStats();
    for (let n = 0; n < rounds; n++) {
      const message = Buffer.alloc(64, n & 0xff);
      client.write(message);
      const [answer] = (await once(client, 'data')) as [Buffer];
      if (!answer.equals(message)) t.fail(`round ${n}`);
    }
    client.end();
    upstream.end();
    const { forward, backward } = await result;
    t.is(forward.bytes, 64 * rounds);
    t.is(forward.method, 'copy');
    t.regex(forward.fallbackReason ?? '', /too little for splice/);
    t.true(forward.syscalls <= rounds * 2.5, `${forward.syscalls} calls for ${rounds} messages`);
    t.true(backward.syscalls <= rounds * 2.5);
    t.is(pipePoolStats().created, created);
  });
});

kernelSerial('a pair holds no descriptor but its own two, until much comes, and again when little does', async (t) => {
  await joined(['tcp', 'tcp'], {}, async ({ client, upstream, a, result }) => {
    let received = 0;
    upstream.on('data', (chunk: Buffer) => {
      received += chunk.length;
    });
    const before = openDescriptors();
    client.write('little');
    await until(() => received === 6);
    t.is(openDescriptors(), before);
    let most = 0;
    for (let round = 1; round <= 2; round++) {
      client.write(pattern(8 * MiB));
      await until(() => {
        most = Math.max(most, openDescriptors());
        return received === 6 * round + 8 * MiB * round;
      });
      t.true(most > before, 'taken');
      // A pipe that nobody uses is closed after a while, and the watcher goes when the socket is given back.
      await until(() => openDescriptors() === before, 'given back');
      most = 0;
      client.write('little');
      await until(() => received === 6 * (round + 1) + 8 * MiB * round);
    }
    t.is(a.bytesRead, received);
    client.end();
    client.resume();
    upstream.end();
    t.like(await result, { forward: { bytes: received, method: 'splice' }, backward: { bytes: 0 } });
  });
});

kernelSerial('no pipe is held while idle, also after much has flowed; and none in the end', async (t) => {
  const before = pipePoolStats().inUse;
  await joined(['tcp', 'tcp'], {}, async ({ client, upstream, result }) => {
    let received = 0;
    upstream.on('data', (chunk: Buffer) => {
      received += chunk.length;
    });
    client.write(pattern(8 * MiB));
    await until(() => received === 8 * MiB);
    await until(() => pipePoolStats().inUse <= before, 'the pipe was given back');
    client.end();
    client.resume();
    upstream.end();
    t.is((await result).forward.method, 'splice');
  });
  await until(() => pipePoolStats().inUse <= before);
  await until(() => pipePoolStats().idle === 0, 'idle pipes are closed after a while');
  t.pass();
});

kernelSerial(
  'a thousand connections at once: every byte of each, no pipe for the idle, no descriptor left',
  async (t) => {
    const count = 1000;
    const message = pattern(40 * KiB);
    const descriptors = openDescriptors();
    let accepted = 0;
    const upstream = await listen('unix', directory, (socket) => {
      accepted++;
      socket.pipe(socket);
    });
    const results: Promise<ProxyResult>[] = [];
    const front = await listen('unix', directory, (socket) => {
      results.push(proxy(socket, net.connect(upstream.address)));
    });
    const clients: Socket[] = [];
    for (let n = 0; n < count; n += 50) {
      const batch = Array.from({ length: 50 }, () => net.connect({ ...front.address, allowHalfOpen: true }));
      clients.push(...batch);
      await Promise.all(batch.map((socket) => once(socket, 'connect')));
      await until(() => accepted === clients.length);
    }
    await until(() => results.length === count);
    t.is(pipePoolStats().inUse, 0);
    const answers = clients.map((client) => collect(client));
    for (const client of clients) client.write(message);
    await pause(20);
    for (const client of clients) client.end();
    for (const answer of await Promise.all(answers)) {
      if (!answer.equals(message)) t.fail('an answer differs');
    }
    for (const { forward, backward } of await Promise.all(results)) {
      if (forward.bytes !== message.length || backward.bytes !== message.length) t.fail('a count differs');
    }
    front.close();
    upstream.close();
    await until(() => openDescriptors() <= descriptors + 66, 'descriptors closed, but for idle pipes');
    await until(() => pipePoolStats().inUse === 0);
    t.pass();
  },
);

kernelSerial('hundreds of pairs that end in every way and order leave nothing behind', async (t) => {
  // A fixed sequence that looks random: the same in every run.
  let state = 12345;
  const random = (below: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >>> 8) % below;
  };
  const one = async (): Promise<void> => {
    const kind = random(2) === 0 ? 'tcp' : 'unix';
    const [size, how] = [random(3) * 200_000, random(5)];
    const controller = new AbortController();
    await joined(
      [kind, 'tcp'],
      { signal: controller.signal, halfCloseTimeout: 100, idleTimeout: 1000 },
      async ({ client, upstream, a, b, result }) => {
        client.write(Buffer.alloc(size));
        upstream.write(Buffer.alloc(size));
        if (random(3) > 0) client.resume();
        if (random(3) > 0) upstream.resume();
        for (let n = random(4); n > 0; n--) await new Promise((resolve) => setImmediate(resolve));
        if (how === 0) controller.abort();
        else if (how === 1) upstream.resetAndDestroy();
        else if (how === 2) client.destroy();
        else if (how === 3) [a, b][random(2)]?.destroy();
        else {
          client.resume().end();
          upstream.resume().end();
        }
        await result.then(
          ({ forward, backward }) => t.true(how !== 4 || (forward.bytes === size && backward.bytes === size)),
          (error: unknown) => t.true(error instanceof ProxyError && how !== 4),
        );
      },
    );
  };
  const round = async (): Promise<void> => {
    for (let n = 0; n < 150; n += 15) await Promise.all(Array.from({ length: 15 }, one));
    await until(() => pipePoolStats().idle + pipePoolStats().inUse === 0, 'the pool is empty');
  };
  await round();
  const before = openDescriptors();
  const timers = process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  await round();
  await until(() => openDescriptors() <= before, `descriptors back at ${before}`);
  t.true(process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length <= timers + 1);
});
