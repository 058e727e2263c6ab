/** What is asked of mapFile, createMmapReadStream and pools, in every shape that node:fs takes; and what is not done unasked. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { createMmapReadStream, mapFile, mapFileSync, SharedBufferPool } from '@zerocopy/mmap-buffer';
import test from 'ava';
import {
  collectGarbage,
  leaseTest,
  makeFile,
  mapTest,
  pattern,
  poolTest,
  runProgram,
  temporaryDirectory,
} from './harness.js';

const directory = temporaryDirectory();
const content = pattern(100_000);

mapTest(
  'paths by shape: a Uint8Array, a URL of another make; options of another realm, inherited ones included',
  async (t) => {
    const path = makeFile(directory, content);
    const { href, protocol, hostname, pathname, host, search, hash } = pathToFileURL(path);
    const foreign = { href, protocol, hostname, pathname, host, search, hash, username: '', password: '', port: '' };
    for (const name of [new TextEncoder().encode(path), foreign]) {
      for (const map of [mapFile, mapFileSync]) {
        const mapped = await map(name as never, Object.create({ offset: 5, length: 10 }));
        t.true(mapped.buffer.equals(content.subarray(5, 15)));
        await mapped.close();
      }
      const chunks: Buffer[] = [];
      const stream = createMmapReadStream(name as never, Object.create({ start: 5, end: 70_004 }));
      for await (const chunk of stream) chunks.push(chunk as Buffer);
      t.is(stream.method, 'mmap');
      t.true(Buffer.concat(chunks).equals(content.subarray(5, 70_005)));
    }
  },
);

test('a FIFO and a device are not opened: an error at once', async (t) => {
  const fifo = join(directory, 'fifo');
  execFileSync('mkfifo', [fifo]);
  for (const name of [fifo, '/dev/zero']) {
    for (const guard of ['trap', 'lease', 'none'] as const) {
      await t.throwsAsync(mapFile(name, { guard }), { code: 'ENODEV', message: new RegExp(`mmap '${name}'$`) });
    }
    t.throws(() => mapFileSync(name), { code: 'ENODEV' });
  }
});

leaseTest(
  'a stopped process with a default mapping blocks no other (kernel-rules: stopped-lease-holder)',
  async (t) => {
    const path = makeFile(directory, content);
    const program = `import(${JSON.stringify(import.meta.resolve('@zerocopy/mmap-buffer'))}).then(async ({ mapFile }) => {
    globalThis.mapped = await mapFile(${JSON.stringify(path)});
    console.log('mapped');
    setInterval(() => {}, 1000);
  });`;
    const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      await once(child.stdout, 'data');
      child.kill('SIGSTOP');
      const before = performance.now();
      const handle = await open(path, 'r+'); // a lease would make it wait for 45 s
      await handle.close();
      t.true(performance.now() - before < 5000);
    } finally {
      child.kill('SIGKILL');
    }
  },
);

poolTest('a buffer in use holds its memory, whatever becomes of its pool', async (t) => {
  const acquire = (): Buffer => {
    const held = new SharedBufferPool({ bufferSize: 5000, count: 2 }).acquire();
    held?.buffer.fill('u');
    return held?.buffer as Buffer;
  };
  const [whole, part] = [acquire(), acquire().subarray(10, 20)];
  for (let round = 0; round < 5; round++) await collectGarbage();
  t.true(whole.equals(Buffer.alloc(5000, 'u')));
  t.is(part.toString(), 'uuuuuuuuuu');
});

poolTest("no way to the memory file, by Node's permission model: a clear error", async (t) => {
  const flag = process.allowedNodeEnvironmentFlags.has('--permission') ? '--permission' : '--experimental-permission';
  const program = `import(${JSON.stringify(import.meta.resolve('@zerocopy/mmap-buffer'))}).then(({ SharedBufferPool }) => {
    try { new SharedBufferPool({ bufferSize: 10, count: 1 }); } catch ({ code, message }) { console.log(code, message); }
  });`;
  const root = new URL('../../../', import.meta.url).pathname;
  const args = [flag, '--allow-addons', '--allow-worker', `--allow-fs-read=${root}`, '-e', program];
  const { stdout, stderr } = await runProgram(process.execPath, args);
  t.regex(stdout, /^ERR_ZEROCOPY_UNAVAILABLE there can be no shared buffers: .*a pool needs \/proc/, stderr);
});
