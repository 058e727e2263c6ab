import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';
import { kernelTest, MiB, pattern, temporaryDirectory, writeFile } from './harness.js';

const run = promisify(execFile);
const directory = temporaryDirectory();
const path = writeFile(join(directory, 'file'), pattern(3 * MiB));
const fixture = (name: string): string => fileURLToPath(new URL(`./fixtures/${name}.js`, import.meta.url));

async function serve(
  disable: string | undefined,
): Promise<{ method: string; reason?: string; received: number; bytesSent: number }> {
  const env = { ...process.env };
  delete env.ZEROCOPY_DISABLE;
  if (disable !== undefined) env.ZEROCOPY_DISABLE = disable;
  const { stdout } = await run(process.execPath, [fixture('serve-and-report'), path, String(3 * MiB)], { env });
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
  for (const value of [undefined, 'splice']) t.like(await serve(value), { method: 'sendfile', received: 3 * MiB });
});

for (const how of ['terminate', 'worker-exit', 'main-exit']) {
  kernelTest(`cut off in the middle (${how}), the process ends as Node would have ended it`, async (t) => {
    // execFile rejects on any signal or status but 0
    const { stdout, stderr } = await run(process.execPath, [fixture('die-in-the-middle'), how, path]);
    t.is(stderr, '');
    if (how !== 'main-exit') t.is(stdout.trim(), 'alive');
  });
}
