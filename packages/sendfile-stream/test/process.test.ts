import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';
import { KiB, kernelTest, MiB, pattern, temporaryDirectory, writeFile } from './harness.js';

const run = promisify(execFile);
const directory = temporaryDirectory();
const path = writeFile(join(directory, 'file'), pattern(3 * MiB));
const fixture = (name: string): string => fileURLToPath(new URL(`./fixtures/${name}.js`, import.meta.url));

async function serve(
  disable: string | undefined,
  file = path,
  size = 3 * MiB,
): Promise<{ method: string; reason?: string; received: number; bytesSent: number }> {
  const env = { ...process.env };
  delete env.ZEROCOPY_DISABLE;
  if (disable !== undefined) env.ZEROCOPY_DISABLE = disable;
  const { stdout } = await run(process.execPath, [fixture('serve-and-report'), file, String(size)], { env });
  return Object.assign(
    {},
    ...stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
  );
}

test('ZEROCOPY_DISABLE turns it off, whole or by name; the bytes are the same', async (t) => {
  for (const value of ['all', 'sendfile', ' splice , sendfile ']) {
    t.like(await serve(value), {
      method: 'copy',
      reason: 'disabled by ZEROCOPY_DISABLE',
      received: 3 * MiB,
      bytesSent: 3 * MiB,
      sendFile: { method: 'copy', bytes: 3 * MiB },
      length: 3 * MiB,
      body: 3 * MiB,
    });
  }
});

kernelTest('without ZEROCOPY_DISABLE, and with other features off, the kernel sends', async (t) => {
  for (const value of [undefined, 'splice', 'splice-pipe,serve-files'])
    t.like(await serve(value), { method: 'sendfile', received: 3 * MiB });
});

kernelTest('ZEROCOPY_DISABLE with the name of this package turns it off', async (t) => {
  for (const value of ['sendfile-stream', '@zerocopy/sendfile-stream, tee']) {
    t.like(await serve(value), {
      method: 'copy',
      reason: 'sendfile-stream is disabled by ZEROCOPY_DISABLE',
      sendFile: { method: 'copy', bytes: 3 * MiB },
      body: 3 * MiB,
    });
  }
});

kernelTest('where nobody can say what is in memory, a small file is sent as a large one', async (t) => {
  const small = writeFile(join(directory, 'small'), pattern(20 * KiB));
  t.like(await serve('preadvNowait', small, 20 * KiB), {
    method: 'sendfile',
    received: 20 * KiB,
    sendFile: { method: 'sendfile', bytes: 20 * KiB },
    body: 20 * KiB,
  });
});

for (const how of ['terminate', 'worker-exit', 'main-exit']) {
  kernelTest(`cut off in the middle (${how}), the process ends as Node would have ended it`, async (t) => {
    // execFile rejects on any signal or status but 0
    const { stdout, stderr } = await run(process.execPath, [fixture('die-in-the-middle'), how, path]);
    t.is(stderr, '');
    if (how !== 'main-exit') t.is(stdout.trim(), 'alive');
  });
}
