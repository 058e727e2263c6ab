/**
 * Every package on this platform, whatever it is: imported, asked what it can do, and given bytes to move, which must
 * arrive. Prints one line of JSON for each: `{ name, passed, method, reason }`. Argument: the methods that must be
 * taken, `kernel` or `copy`.
 */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

const [expected] = process.argv.slice(2);
const directory = mkdtempSync(join(tmpdir(), 'zerocopy-smoke-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
const content = randomBytes(3 * 1024 * 1024 + 7);
const path = join(directory, 'file');
writeFileSync(path, content);
const hash = (bytes) => createHash('sha256').update(bytes).digest('hex');

function told(name, passed, more = {}) {
  console.log(JSON.stringify({ name, passed, ...more }));
  if (!passed) process.exitCode = 1;
}

/** What a client gets from a server that does `serve` with each connection. */
async function received(serve) {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => void serve(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = net.connect({ port: server.address().port, host: '127.0.0.1', allowHalfOpen: true });
  const chunks = [];
  client.end(content);
  for await (const chunk of client) chunks.push(chunk);
  server.close();
  return Buffer.concat(chunks);
}

async function check(name, fast, use) {
  try {
    const { bytes, method, reason } = await use();
    const right = hash(bytes) === hash(content);
    const how = expected === 'copy' ? method === 'copy' || method === undefined : fast.includes(method);
    told(name, right && how, { method, reason, ...(right ? {} : { wrong: 'the bytes differ' }) });
  } catch (error) {
    told(name, false, { reason: error.stack });
  }
}

const { probe, libcStatus } = await import('@zerocopy/core-syscalls');
const { createSendfileStream, sendFile } = await import('@zerocopy/sendfile-stream');
const { createSpliceReadStream, createSpliceWriteStream, proxy, splice, tee } = await import('@zerocopy/splice-pipe');
const { createMmapReadStream, mapFile } = await import('@zerocopy/mmap-buffer');
const { acquireLease } = await import('@zerocopy/lease-guard');
const { copyFile } = await import('@zerocopy/file-copy');
told('all packages are imported', true);

const status = libcStatus();
const { features } = probe();
const off = Object.values(features).filter(({ available }) => !available);
const speaks = off.every(({ reason }) => typeof reason === 'string' && reason.length > 0);
const all = off.length === Object.keys(features).length;
told('the probe says why', speaks && (expected !== 'copy' || (all && !status.available)), { reason: status.reason });
if (expected === 'kernel')
  for (const [name, { available, reason }] of Object.entries(features))
    if (!available) console.log(JSON.stringify({ name: `not here: ${name}`, passed: true, reason }));

await check('createSendfileStream', ['sendfile'], async () => {
  const source = createSendfileStream(path);
  const bytes = await received(async (socket) => {
    socket.resume();
    await pipeline(source, socket);
  });
  return { bytes, method: source.method, reason: source.fallbackReason };
});
await check('sendFile', ['sendfile'], async () => {
  let result;
  const bytes = await received(async (socket) => {
    socket.resume();
    result = await sendFile(socket, path);
    socket.end();
  });
  return { bytes, method: result.method, reason: result.fallbackReason };
});
await check('splice', ['splice'], async () => {
  const echo = net.createServer((socket) => socket.pipe(socket)).listen(0, '127.0.0.1');
  await once(echo, 'listening');
  let result;
  const bytes = await received(async (socket) => {
    const upstream = net.connect(echo.address().port, '127.0.0.1');
    void upstream.pipe(socket);
    result = await splice(socket, upstream);
    upstream.end();
  });
  echo.close();
  return { bytes, method: result.method, reason: result.fallbackReason };
});
await check('proxy', ['splice'], async () => {
  const echo = net.createServer((socket) => socket.pipe(socket)).listen(0, '127.0.0.1');
  await once(echo, 'listening');
  let result;
  const bytes = await received((socket) => {
    result = proxy(socket, net.connect(echo.address().port, '127.0.0.1'));
  });
  echo.close();
  const { forward } = await result;
  return { bytes, method: forward.method, reason: forward.fallbackReason };
});
await check('createSpliceReadStream', ['splice'], async () => {
  let source;
  const bytes = await received((socket) => {
    source = createSpliceReadStream(socket);
    void pipeline(source, socket);
  });
  return { bytes, method: source.method, reason: source.fallbackReason };
});
await check('createSpliceWriteStream', ['splice'], async () => {
  const to = createSpliceWriteStream(join(directory, 'written'));
  await received(async (socket) => {
    await pipeline(socket, to);
    socket.end();
  });
  return { bytes: readFileSync(join(directory, 'written')), method: to.method, reason: to.fallbackReason };
});
await check('tee', ['splice'], async () => {
  const file = await open(join(directory, 'teed'), 'w');
  let result;
  await received(async (socket) => {
    result = await tee(socket, [file]);
    socket.end();
  });
  await file.close();
  return { bytes: readFileSync(join(directory, 'teed')), method: result.method, reason: result.fallbackReason };
});
await check('copyFile', ['reflink', 'copy_file_range', 'splice'], async () => {
  const result = await copyFile(path, join(directory, 'copied'));
  return { bytes: readFileSync(join(directory, 'copied')), method: result.method, reason: result.fallbackReason };
});
await check('mapFile', [undefined], async () => {
  const file = await mapFile(path);
  const bytes = Buffer.from(file.buffer);
  await file.close();
  return { bytes, reason: file.fallbackReason };
});
await check('createMmapReadStream', [undefined], async () => {
  const chunks = [];
  for await (const chunk of createMmapReadStream(path)) chunks.push(Buffer.from(chunk));
  return { bytes: Buffer.concat(chunks) };
});
try {
  const lease = await acquireLease(path, 'read');
  await lease.release();
  told('acquireLease', expected === 'kernel', { reason: 'a lease was given' });
} catch (error) {
  const unavailable = error.code === 'ERR_ZEROCOPY_UNAVAILABLE';
  told('acquireLease', unavailable && (expected === 'copy' || !features.lease.available), { reason: error.message });
}
