/** The interface through which a lease comes in. Real leases are tested where they are made. */
import { EventEmitter } from 'node:events';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
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
