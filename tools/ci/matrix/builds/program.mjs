/**
 * What bundlers are given: each package once, and what came of it as one line of JSON. It is copied to a folder in which
 * the packages are installed; nothing of it may depend on where its file is.
 */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { libcStatus } from '@zerocopy/core-syscalls';
import { copyFile } from '@zerocopy/file-copy';
import { acquireLease, leaseProvider } from '@zerocopy/lease-guard';
import { mapFile } from '@zerocopy/mmap-buffer';
import { install, pipeline } from '@zerocopy/pipeline';
import { sendFile } from '@zerocopy/sendfile-stream';
import { splice } from '@zerocopy/splice-pipe';

const directory = mkdtempSync(join(tmpdir(), 'zerocopy-bundled-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
const content = randomBytes(3 * 1024 * 1024 + 7);
const path = join(directory, 'file');
writeFileSync(path, content);
const hash = (bytes) => createHash('sha256').update(bytes).digest('hex');

const warnings = [];
process.on('warning', ({ code, name }) => warnings.push(code ?? name));

/** What a client gets from a server that does `serve` with each connection. */
async function received(serve) {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => void serve(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = net.connect({ port: server.address().port, host: '127.0.0.1', allowHalfOpen: true });
  client.end(content);
  const chunks = [];
  for await (const chunk of client) chunks.push(chunk);
  server.close();
  return Buffer.concat(chunks);
}

async function served(handler) {
  const server = http.createServer(handler).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const response = await fetch(`http://127.0.0.1:${server.address().port}/file`);
  const bytes = Buffer.from(await response.arrayBuffer());
  server.closeAllConnections();
  server.close();
  return bytes;
}

function same(bytes) {
  if (hash(bytes) !== hash(content)) throw new Error('the bytes differ');
}

const ways = {
  async sendFile() {
    let result;
    const bytes = await received(async (socket) => {
      socket.resume();
      result = await sendFile(socket, path);
      socket.end();
    });
    same(bytes);
    return result.method;
  },
  async sendFileUnderLease() {
    let result;
    const bytes = await received(async (socket) => {
      socket.resume();
      result = await sendFile(socket, path, { lease: leaseProvider }).catch((error) => error);
      socket.end();
    });
    if (result.method === undefined) return result.code;
    same(bytes);
    return result.method;
  },
  async splice() {
    const echo = net.createServer((socket) => socket.pipe(socket)).listen(0, '127.0.0.1');
    await once(echo, 'listening');
    let result;
    const bytes = await received(async (socket) => {
      const upstream = net.connect(echo.address().port, '127.0.0.1');
      upstream.pipe(socket);
      result = await splice(socket, upstream);
      upstream.end();
    });
    echo.close();
    same(bytes);
    return result.method;
  },
  async copyFile() {
    const { method } = await copyFile(path, join(directory, 'copied'));
    same(readFileSync(join(directory, 'copied')));
    return method === 'copy' ? 'copy' : 'kernel';
  },
  async mapFile() {
    const file = await mapFile(path);
    same(file.buffer);
    await file.close();
    return file.fallbackReason === undefined ? 'mapped' : 'copied';
  },
  async mapFileUnderLease() {
    try {
      const file = await mapFile(path, { guard: 'lease' });
      same(file.buffer);
      await file.close();
      return file.fallbackReason === undefined ? 'mapped' : 'copied';
    } catch (error) {
      return error.code;
    }
  },
  async acquireLease() {
    try {
      const lease = await acquireLease(path, 'read');
      const { state } = lease;
      await lease.release();
      return state;
    } catch (error) {
      return error.code;
    }
  },
  async pipeline() {
    const { createReadStream } = await import('node:fs');
    same(await served((_, response) => pipeline(createReadStream(path), response, () => {})));
    return 'whole';
  },
  async installed() {
    const uninstall = install();
    const { createReadStream } = await import('node:fs');
    same(await served((_, response) => createReadStream(path).pipe(response)));
    uninstall();
    return 'whole';
  },
};

async function main() {
  const told = { libc: libcStatus() };
  for (const [name, way] of Object.entries(ways)) {
    try {
      told[name] = await way();
    } catch (error) {
      told[name] = error.stack;
    }
  }
  console.log(JSON.stringify({ ...told, warnings }));
}

void main();
