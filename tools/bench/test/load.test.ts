import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { libcStatus } from '@zerocopy/core-syscalls';
import test from 'ava';
import { hashOfDownload, load, PollingClient, uploadedHash } from '../dist/load/polling-client.js';
import { httpContestants } from '../dist/processes/http-contestants.js';
import { MiB, writeTestFile } from '../dist/scenarios/test-file.js';
import { NodeServer } from '../dist/servers/node-server.js';

const available = libcStatus().available;
const onLinux = available
  ? test
  : (title: string, _run: unknown) => test.skip(`${title} (needs Linux system calls)`, () => {});

const directory = mkdtempSync(join(tmpdir(), 'zerocopy-bench-test-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
const file = writeTestFile(join(directory, 'file'), 3 * MiB + 1);
writeTestFile(join(directory, 'small'), 10);

onLinux('every HTTP contestant that is installed sends the file, and all that many clients ask for', async (t) => {
  for (const { name, env = {} } of httpContestants) {
    if (name === 'silent') continue; // which never answers
    const server = await NodeServer.http(name, directory, { pin: false, env });
    try {
      t.deepEqual(hashOfDownload(server.port, '/file'), { bytes: file.size, sha256: file.sha256 }, name);
      const { bytes, latencies } = load(server.port, { connections: 20, duration: 0, target: () => '/file' });
      t.is(latencies.length, 20, name);
      t.is(bytes, 20 * file.size, name);
      const { cpuSeconds, peakMemory, descriptors } = server.meter.read();
      t.true(cpuSeconds > 0 && peakMemory > MiB && descriptors > 3, name);
    } finally {
      await server.stop();
    }
  }
});

onLinux('a new connection for each request', async (t) => {
  const server = await NodeServer.http('node', directory, { pin: false });
  const options = { connections: 3, duration: 30, reconnect: true, target: () => '/small' };
  const { bytes, latencies } = load(server.port, options);
  t.is(bytes, latencies.length * 10);
  t.true(latencies.length >= 3);
  await server.stop();
});

/** Somebody who answers every request with these bytes and closes the connection. The client blocks its thread, so it has one of its own. */
async function answering(response: string): Promise<{ port: number; close: () => Promise<unknown> }> {
  const worker = new Worker(
    `const { createServer } = require('node:net');
const { parentPort, workerData } = require('node:worker_threads');
const server = createServer((socket) => socket.on('error', () => {}).once('data', () => socket.end(workerData)));
server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));`,
    { eval: true, workerData: response },
  );
  const [port] = (await once(worker, 'message')) as [number];
  return { port, close: () => worker.terminate() };
}

onLinux('nobody wins by sending less: short, long, wrong and missing answers are errors', async (t) => {
  for (const [response, message] of [
    ['HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123', /in the middle of a response/],
    ['HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n123', /more than the Content-Length/],
    ['HTTP/1.1 200 OK\r\n\r\n123', /without a Content-Length/],
    ['', /instead of answering/],
    ['HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n', /answered 404/],
  ] as const) {
    const { port, close } = await answering(response);
    t.throws(() => load(port, { connections: 1, duration: 0, target: () => '/' }), { message }, response);
    await close();
  }
});

onLinux('an upload is what its hash says', async (t) => {
  const server = await NodeServer.run('upload-process', ['node', directory], { pin: false });
  const client = new PollingClient(server.port);
  t.is(client.put('/uploaded', 2 * MiB + 7).status, 201);
  client.close();
  const stored = readFileSync(join(directory, 'uploaded'));
  t.is(createHash('sha256').update(stored).digest('hex'), uploadedHash(2 * MiB + 7));
  await server.stop();
});
