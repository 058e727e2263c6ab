/** receiveFile while other code does something to the request, to the process or to the file. */
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import http, { type IncomingMessage } from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { TransferError } from '@zerocopy/core-syscalls';
import { type ReceiveFileOptions, receiveFile } from '@zerocopy/splice-pipe';
import { printedBy } from '@zerocopy/testing/programs';
import test from 'ava';
import { fixture, kernelTest, MiB, pattern, temporaryDirectory, until } from './harness.js';

const directory = temporaryDirectory();
const SIZES = [1000, 4 * MiB];

/** Sends the half of a body, and the rest when `meanwhile` has been called. @returns what receiveFile rejects with, if it does. */
async function upload(
  body: Buffer,
  path: string | Buffer,
  options: ReceiveFileOptions,
  meanwhile: (request: IncomingMessage) => unknown,
  hasBegun: () => boolean,
): Promise<TransferError | undefined> {
  let request: IncomingMessage | undefined;
  let ended: Promise<TransferError | undefined> | undefined;
  const server = http.createServer((received) => {
    request = received;
    ended = receiveFile(received, path, options).then(
      () => undefined,
      (error: TransferError) => error,
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = net.connect((server.address() as AddressInfo).port, '127.0.0.1').on('error', () => {});
  client.write(`PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n`);
  client.write(body.subarray(0, body.length / 2));
  await until(() => ended !== undefined && hasBegun(), 'the file is open');
  await meanwhile(request as IncomingMessage);
  client.write(body.subarray(body.length / 2));
  const error = await ended;
  client.destroy();
  server.close();
  return error;
}

test.serial('a relative path starts from the directory at the call, wherever the process goes meanwhile', async (t) => {
  const before = process.cwd();
  t.teardown(() => process.chdir(before));
  for (const size of SIZES) {
    for (const flags of ['w', 'wx']) {
      for (const path of ['file', Buffer.from('file')]) {
        const [from, to] = ['from', 'to'].map((name) => join(directory, `${name}-${size}-${flags}-${typeof path}`));
        mkdirSync(from as string);
        mkdirSync(to as string);
        process.chdir(from as string);
        const body = pattern(size);
        const go = (): void => process.chdir(to as string);
        const isOpen = (): boolean => readdirSync(from as string).length > 0;
        t.is(await upload(body, path, { atomic: true, flags }, go, isOpen), undefined);
        t.deepEqual(readdirSync(to as string), []);
        t.deepEqual(readdirSync(from as string), ['file']);
        t.true(readFileSync(join(from as string, 'file')).equals(body));
      }
    }
  }
});

test.serial('a temporary file is removed wherever the process has gone', async (t) => {
  const before = process.cwd();
  t.teardown(() => process.chdir(before));
  for (const size of SIZES) {
    const from = join(directory, `left-${size}`);
    mkdirSync(from);
    process.chdir(from);
    const aborting = new AbortController();
    const go = (): void => {
      process.chdir(directory);
      aborting.abort();
    };
    const isOpen = (): boolean => readdirSync(from).length > 0;
    const error = await upload(pattern(size), 'file', { atomic: true, signal: aborting.signal }, go, isOpen);
    t.is(error?.code, 'ABORT_ERR');
    t.deepEqual(readdirSync(from), []);
  }
});

test('an encoding that is set meanwhile: what comes then is not what was sent', async (t) => {
  for (const size of SIZES) {
    const path = join(directory, `encoded-${size}`);
    const body = Buffer.alloc(size, 0xff); // no character of UTF-8
    const touch = (request: IncomingMessage): void => {
      request.setEncoding('utf8');
      request.socket.pause().resume(); // what was read by the kernel comes through Node from here on
    };
    const hasBegun = (): boolean => statSync(path, { throwIfNoEntry: false }) !== undefined;
    const error = await upload(body, path, {}, touch, hasBegun);
    t.is(error?.code, 'ERR_BODY_USED');
    const file = readFileSync(path);
    t.is(error?.bytes, file.length);
    t.true(file.equals(body.subarray(0, file.length)));
  }
});

kernelTest('an abort of what is copied waits for the write that is under way, and tells its reason', async (t) => {
  t.deepEqual(await printedBy(fixture('abort-copied-write')), {
    early: null,
    atClose: 0,
    code: 'ABORT_ERR',
    hasReason: true,
    counted: true,
  });
});
