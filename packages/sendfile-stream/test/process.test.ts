import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { descriptorTargets } from '@zerocopy/testing/holdings';
import { turn } from '@zerocopy/testing/waiting';
import test from 'ava';
import { KiB, kernelTest, MiB, pattern, temporaryDirectory, writeFile } from './harness.js';

const run = promisify(execFile);
const directory = temporaryDirectory();
const path = writeFile(join(directory, 'file'), pattern(3 * MiB));
/** As many as it takes: of each seventh the close was under way. */
const WORKERS = 30;
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

for (const by of ['sendFile', 'stream'] as const) {
  kernelTest(`terminated workers leave no file open, by ${by} (kernel-rules: worker-close-cancelled)`, async (t) => {
    const small = writeFile(join(directory, `sent-by-workers-${by}`), pattern(20 * KiB));
    const open = (): number => [...descriptorTargets().values()].filter((target) => target === small).length;
    for (let n = 0; n < WORKERS; n++) {
      const worker = new Worker(fixture('sending.worker'), { workerData: { path: small, by } });
      const exit = once(worker, 'exit');
      await once(worker, 'message');
      for (let turns = n % 7; turns > 0; turns--) await turn();
      await worker.terminate();
      await exit;
    }
    t.is(open(), 0);
  });
}

for (const how of ['terminate', 'worker-exit', 'main-exit']) {
  kernelTest(`cut off in the middle (${how}), the process ends as Node would have ended it`, async (t) => {
    // execFile rejects on any signal or status but 0
    const { stdout, stderr } = await run(process.execPath, [fixture('die-in-the-middle'), how, path]);
    t.is(stderr, '');
    if (how !== 'main-exit') t.is(stdout.trim(), 'alive');
  });
}
