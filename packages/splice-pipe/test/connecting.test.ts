/** What ends a proxy while one of its sides is connecting. */
import { once } from 'node:events';
import net, { type AddressInfo, type Server, type Socket } from 'node:net';
import { proxy } from '@zerocopy/splice-pipe';
import { kernelTest, pattern, pause, temporaryDirectory, withPair } from './harness.js';

const directory = temporaryDirectory();

/** A listener that accepts nobody any more: connections to it stay connecting. */
async function withFullListener(use: (connect: () => Socket) => Promise<void>): Promise<void> {
  const fillers: Socket[] = [];
  const child = (await import('node:child_process')).spawn(
    process.execPath,
    [
      '-e',
      "const s=require('net').createServer().listen({port:0,host:'127.0.0.1',backlog:1},()=>{console.log(s.address().port);process.kill(process.pid,'SIGSTOP')})",
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  // It stops itself, and is killed also where this process ends early.
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const connect = (): Socket => net.connect(Number(String(line)), '127.0.0.1').on('error', () => {});
  for (let n = 0; n < 4; n++) fillers.push(connect());
  await pause(50);
  try {
    await use(connect);
  } finally {
    for (const filler of fillers) filler.destroy();
    process.off('exit', kill);
    kill();
  }
}

const failure = (promise: Promise<unknown>): Promise<Error & { code: string }> =>
  promise.then(
    () => {
      throw new Error('it did not fail');
    },
    (error: Error & { code: string }) => error,
  );

kernelTest('idleTimeout counts from the call, connecting included', async (t) => {
  await withFullListener(async (connect) => {
    await withPair('tcp', directory, async ({ server: a, client }) => {
      client.on('error', () => {});
      const b = connect();
      t.true(b.connecting);
      const started = performance.now();
      const error = await failure(proxy(a, b, { idleTimeout: 150 }));
      t.like(error, { code: 'ERR_IDLE_TIMEOUT', forward: { bytes: 0 }, backward: { bytes: 0 } });
      t.true(performance.now() - started < 2000);
      t.true(a.destroyed && b.destroyed);
    });
  });
});

kernelTest('a client that goes away while the upstream connects ends it, whatever it had sent before', async (t) => {
  await withFullListener(async (connect) => {
    for (const sent of ['', 'GET / HTTP/1.1\r\n\r\n']) {
      await withPair('tcp', directory, async ({ server: a, client }) => {
        const b = connect();
        const failed = failure(proxy(a, b));
        client.write(sent);
        await pause(20);
        client.resetAndDestroy();
        t.is((await failed).code, 'ECONNRESET');
        t.true(a.destroyed && b.destroyed);
      });
    }
    await withPair('tcp', directory, async ({ server: a }) => {
      const b = connect();
      const failed = failure(proxy(a, b));
      a.destroy();
      t.is((await failed).code, 'ECONNRESET', 'destroyed by its owner');
    });
    await withPair('tcp', directory, async ({ server: a }) => {
      const b = connect();
      a.destroy();
      await once(a, 'close');
      t.is((await failure(proxy(a, b))).code, 'ECONNRESET', 'gone before the call');
      t.true(b.destroyed);
    });
  });
});

kernelTest('an upstream that goes away, and a signal, end it while it connects', async (t) => {
  await withFullListener(async (connect) => {
    await withPair('tcp', directory, async ({ server: a, client }) => {
      client.on('error', () => {});
      const b = connect();
      const failed = failure(proxy(a, b));
      b.destroy(Object.assign(new Error('given up'), { code: 'EGIVENUP' }));
      t.like(await failed, { code: 'EGIVENUP', message: 'given up' });
      t.true(a.destroyed);
    });
    await withPair('tcp', directory, async ({ server: a, client }) => {
      client.on('error', () => {});
      const controller = new AbortController();
      const failed = failure(proxy(a, connect(), { signal: controller.signal }));
      await pause(10);
      controller.abort();
      t.is((await failed).code, 'ABORT_ERR');
      t.true(a.destroyed);
    });
  });
});

kernelTest('what the client sends while the upstream connects, its end included, arrives whole', async (t) => {
  for (const flows of [true, false]) {
    const upstreams: Server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true });
    upstreams.listen(0, '127.0.0.1');
    await once(upstreams, 'listening');
    await withPair('tcp', directory, async ({ server: a, client }) => {
      if (flows) a.resume();
      const { port } = upstreams.address() as AddressInfo;
      // The lookup takes a few turns, in which Node would throw away what comes to a socket that flows.
      const lookup: net.LookupFunction = (_host, _options, done) => {
        setTimeout(() => done(null, '127.0.0.1', 4), 100);
      };
      const b = net.connect({ port, host: 'localhost', family: 4, lookup });
      const accepted = once(upstreams, 'connection') as Promise<[Socket]>;
      const proxied = proxy(a, b);
      client.end(pattern(300_000));
      const [upstream] = await accepted;
      let got = 0;
      upstream.on('data', (chunk: Buffer) => {
        got += chunk.length;
      });
      upstream.resume();
      await once(upstream, 'end');
      upstream.end('answer');
      client.resume();
      t.like(await proxied, { forward: { bytes: 300_000 }, backward: { bytes: 6 } });
      t.is(got, 300_000);
    });
    upstreams.close();
  }
});
