/** Leases: the interface through which they come in, and the real ones of @zerocopy/lease-guard. */
import { execFile } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { open } from 'node:fs/promises';
import http from 'node:http';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { feature, probePath } from '@zerocopy/core-syscalls';
import { createSendfileStream, type LeaseProvider, sendFile, type TransferLease } from '@zerocopy/sendfile-stream';
import test from 'ava';
import {
  collect,
  get,
  kernelTest,
  MiB,
  pattern,
  temporaryDirectory,
  until,
  withHttpServer,
  withSockets,
  writeFile,
} from './harness.js';

const directory = temporaryDirectory();
const size = 8 * MiB;
const content = pattern(size);
const path = writeFile(join(directory, 'file'), content);

class Lease extends EventEmitter implements TransferLease {
  state: TransferLease['state'] = 'held';
  releases = 0;

  async release(): Promise<void> {
    this.releases++;
    this.state = 'released';
  }

  breakIt(deadlineMs: number): void {
    this.state = 'breaking';
    this.emit('break', { deadlineMs });
  }
}

class Provider implements LeaseProvider {
  readonly leases: Lease[] = [];
  readonly asked: [number, string | undefined][] = [];
  failure: Error | undefined;

  async acquire(fd: number, file: string | undefined): Promise<Lease> {
    this.asked.push([fd, file]);
    await new Promise((resolve) => setImmediate(resolve));
    if (this.failure !== undefined) throw this.failure;
    const lease = new Lease();
    this.leases.push(lease);
    return lease;
  }
}

test('it is held for the time of the transfer, however the bytes go, and released once', async (t) => {
  for (const how of ['kernel', 'read', 'sendFile', 'destroyed']) {
    const lease = new Provider();
    await withSockets('unix', async (server, client) => {
      const bytes = collect(client);
      if (how === 'sendFile') {
        await sendFile(server, path, { lease });
        server.end();
      } else {
        const stream = createSendfileStream(path, { lease });
        stream.once('open', () => t.is(lease.leases.length, 0, 'asked for once the file is open'));
        if (how === 'kernel') await pipeline(stream, server);
        else if (how === 'read') {
          for await (const chunk of stream) {
            t.is(lease.leases[0]?.state, 'held');
            server.write(chunk);
          }
          server.end();
        } else {
          stream.pipe(server, { end: false });
          stream.once('progress', () => stream.destroy());
          await until(() => stream.closed);
          server.end();
        }
        await until(() => stream.closed);
      }
      const received = await bytes;
      if (how !== 'destroyed') t.true(received.equals(content), how);
    });
    t.is(lease.asked.length, 1);
    t.is(lease.asked[0]?.[1], path);
    t.is(lease.leases[0]?.releases, 1, how);
  }
});

test('a lease that cannot be had fails before a byte is sent', async (t) => {
  const lease = new Provider();
  const failure = Object.assign(new Error('somebody writes to it'), { code: 'EAGAIN' });
  lease.failure = failure;
  await withSockets('unix', async (server, client) => {
    let received = 0;
    client.on('data', (chunk: Buffer) => {
      received += chunk.length;
    });
    await t.throwsAsync(sendFile(server, path, { lease }), { is: failure });
    await t.throwsAsync(pipeline(createSendfileStream(path, { lease }), server), { is: failure });
    t.is(received, 0);
  });
});

kernelTest('a break that the transfer outruns changes nothing; one that it does not tears the response', async (t) => {
  for (const how of ['stream', 'sendFile'] as const) {
    for (const [leaseBreak, deadlineMs, whole] of [
      ['finish', 30_000, true],
      ['finish', 0, false],
      ['fail', 30_000, false],
    ] as const) {
      const lease = new Provider();
      let failure: NodeJS.ErrnoException | undefined;
      await withHttpServer(
        (_request, response) => {
          response.setHeader('Content-Length', size);
          const onProgress = (bytes: number): void => {
            if (bytes > 0 && bytes < size && lease.leases[0]?.state === 'held') lease.leases[0].breakIt(deadlineMs);
          };
          const options = { lease, leaseBreak };
          const failed = (error: NodeJS.ErrnoException): void => {
            failure = error;
          };
          if (how === 'sendFile') sendFile(response, path, { ...options, onProgress }).catch(failed);
          else pipeline(createSendfileStream(path, options).on('progress', onProgress), response).catch(failed);
        },
        async (port) => {
          const answer = await get(port).catch((error: NodeJS.ErrnoException) => error);
          const name = `${how} ${leaseBreak} ${deadlineMs}`;
          if (whole) t.true('body' in answer && answer.body.equals(content), name);
          else {
            t.true(answer instanceof Error, name);
            await until(() => failure !== undefined);
            t.is(failure?.code, 'ERR_ZEROCOPY_LEASE_BROKEN');
            t.regex(failure?.message ?? '', /somebody wants to change '.*file' while it is being sent/);
          }
          await until(() => lease.leases[0]?.releases === 1, 'released');
        },
      );
    }
  }
});

kernelTest('broken while it waits behind another file: nothing of it is sent, and what follows it is', async (t) => {
  await withSockets('tcp', async (server, client) => {
    const lease = new Provider();
    const first = createSendfileStream(path);
    first.pipe(server, { end: false });
    await until(() => first.bytesSent > 0);
    const second = createSendfileStream(path, { lease, leaseBreak: 'fail' });
    second.pipe(server, { end: false });
    await until(() => second.method === 'sendfile', 'it waits for its turn');
    const failed = once(second, 'error');
    lease.leases[0]?.breakIt(1000);
    lease.leases[0]?.breakIt(1000); // told twice: once is enough
    t.is(((await failed)[0] as NodeJS.ErrnoException).code, 'ERR_ZEROCOPY_LEASE_BROKEN');
    t.is(second.bytesSent, 0);
    server.end('after');
    t.true((await collect(client)).equals(Buffer.concat([content, Buffer.from('after')])));
    await until(() => lease.leases[0]?.releases === 1);
  });
});

kernelTest('by a descriptor there is no name to tell; with a signal of its own both are heeded', async (t) => {
  const handle = await open(path);
  await withSockets('tcp', async (server, client) => {
    const lease = new Provider();
    const stream = createSendfileStream(null as unknown as string, {
      fd: handle.fd,
      start: 0,
      autoClose: false,
      lease,
      leaseBreak: 'fail',
    });
    stream.pipe(server, { end: false });
    await until(() => stream.bytesSent > 0);
    const failed = once(stream, 'error');
    lease.leases[0]?.breakIt(1000);
    t.regex(((await failed)[0] as Error).message, /somebody wants to change the file while it is being sent/);
    client.on('error', () => {}).resume();
    await until(() => server.destroyed, 'nobody is to take it for whole');
    t.false(stream.destroyed, 'autoClose: false');
    t.is(lease.leases[0]?.releases, 1);
    t.is((await handle.read(Buffer.alloc(4), 0, 4, 0)).bytesRead, 4, 'its descriptor is open');
  });
  for (const how of ['break', 'abort', 'none'] as const) {
    await withSockets('tcp', async (server, client) => {
      const lease = new Provider();
      const controller = new AbortController();
      let seen = false;
      const sent = sendFile(server, handle.fd, {
        start: 0,
        lease,
        leaseBreak: 'fail',
        signal: controller.signal,
        onProgress: () => {
          if (seen) return;
          seen = true;
          if (how === 'break') lease.leases[0]?.breakIt(1000);
          else if (how === 'abort') controller.abort();
        },
      });
      client.on('error', () => {}).resume();
      if (how === 'none') t.is((await sent).bytes, size);
      else {
        const error = await t.throwsAsync<NodeJS.ErrnoException>(sent);
        t.is(error?.code, how === 'break' ? 'ERR_ZEROCOPY_LEASE_BROKEN' : 'ABORT_ERR');
        if (how === 'break') t.regex(error?.message ?? '', /somebody wants to change the file while/);
        t.is(server.destroyed, how === 'break');
      }
      t.is(lease.leases[0]?.releases, 1);
      t.is(lease.asked[0]?.[1], undefined);
    });
  }
  await handle.close();
});

test('read in user space, and broken: an error, and with autoClose: false no more than that', async (t) => {
  for (const autoClose of [true, false]) {
    const lease = new Provider();
    const fd = openSync(path, 'r');
    const stream = createSendfileStream('', { fd, start: 0, autoClose, lease, leaseBreak: 'fail' });
    const errors: unknown[] = [];
    stream.on('error', (error: NodeJS.ErrnoException) => errors.push(error.code));
    let bytes = 0;
    stream.on('data', (chunk: Buffer | string) => {
      if (bytes === 0) lease.leases[0]?.breakIt(1000);
      bytes += chunk.length;
    });
    await once(stream, 'error');
    await new Promise((resolve) => setTimeout(resolve, 20));
    t.deepEqual(errors, ['ERR_ZEROCOPY_LEASE_BROKEN']);
    t.true(bytes > 0 && bytes < size, String(bytes));
    t.is(stream.destroyed, autoClose);
    t.is(lease.leases[0]?.releases, 1);
    if (autoClose) await until(() => stream.closed);
    else closeSync(fd); // throws if it were closed
  }
});

test('lease: true without @zerocopy/lease-guard: an error that names it, and nothing is sent', async (t) => {
  const child = fileURLToPath(new URL('./fixtures/no-lease-guard.js', import.meta.url));
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ['--no-warnings', child, path]);
  t.is(stdout, '');
  const [sent, streamed] = JSON.parse(stderr);
  for (const told of [sent, streamed]) {
    t.is(told.code, 'ERR_ZEROCOPY_LEASE_UNAVAILABLE');
    t.regex(told.message, /needs @zerocopy\/lease-guard to be installed/);
  }
});

const leasable = feature('lease').available && probePath(path).lease.available;
(leasable ? kernelTest : (test.skip as typeof kernelTest))(
  `lease: true: whoever wants to write waits until the response is out${leasable ? '' : ' (no leases here)'}`,
  async (t) => {
    for (const how of ['stream', 'sendFile'] as const) {
      const order: string[] = [];
      const release = new EventEmitter();
      await withHttpServer(
        (_request, response) => {
          response.setHeader('Content-Length', size);
          const sent =
            how === 'sendFile'
              ? sendFile(response, path, { lease: true })
              : pipeline(createSendfileStream(path, { lease: true }), response);
          sent.then(
            () => order.push('sent'),
            (error) => t.fail(String(error)),
          );
        },
        async (port) => {
          const request = http.get({ port, host: '127.0.0.1', agent: false });
          const [response] = (await once(request, 'response')) as [http.IncomingMessage];
          // Under way, and waiting for this reader: the writer waits too.
          const writer = open(path, 'r+').then(async (handle) => {
            order.push('opened');
            await handle.close();
          });
          setTimeout(() => release.emit('read'), 200);
          await once(release, 'read');
          t.deepEqual(order, []);
          t.true((await collect(response)).equals(content));
          await writer;
        },
      );
      await until(() => order.length === 2);
      t.deepEqual([...order].sort(), ['opened', 'sent']);
    }
    const writer = await open(path, 'r+');
    await withSockets('unix', async (server) => {
      await t.throwsAsync(sendFile(server, path, { lease: true }), { code: 'EAGAIN', message: /open for writing/ });
    });
    await writer.close();
  },
);

test('options that are none', async (t) => {
  for (const lease of ['yes', {}, 1]) {
    t.throws(() => createSendfileStream(path, { lease: lease as unknown as boolean }), {
      code: 'ERR_INVALID_ARG_TYPE',
      message: /'lease' must be a boolean or an object with acquire\(\)/,
    });
  }
  t.throws(() => createSendfileStream(path, { lease: true, leaseBreak: 'never' as 'fail' }), {
    code: 'ERR_INVALID_ARG_VALUE',
  });
  t.throws(() => createSendfileStream(path, { smallFileSize: -1 }), { code: 'ERR_OUT_OF_RANGE' });
});
