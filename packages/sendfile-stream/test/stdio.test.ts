/** Standard streams of this process and of children: pipes, sockets, files, terminals. */
import { type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { createSendfileStream, sendFile } from '@zerocopy/sendfile-stream';
import { collect, kernelTest, MiB, pattern, temporaryDirectory, writeFile } from './harness.js';

const directory = temporaryDirectory();
const size = 3 * MiB + 7;
const content = pattern(size);
const path = writeFile(join(directory, 'file'), content);
const expected = Buffer.concat([Buffer.from('before '), content, Buffer.from(' after')]);
const child = fileURLToPath(new URL('./fixtures/to-stdout.js', import.meta.url));

interface Told {
  readonly method: string;
  readonly bytes: number;
  readonly reason?: string;
}

async function run(how: string, stdout: number | 'pipe' | 'overlapped'): Promise<{ told: Told; output: Buffer }> {
  const options: SpawnOptions = { stdio: ['ignore', stdout, 'pipe'] };
  const process_ = spawn(process.execPath, [child, how, path], options);
  const [output, told] = await Promise.all([
    process_.stdout === null ? Buffer.alloc(0) : collect(process_.stdout),
    collect(process_.stderr as Readable),
    once(process_, 'exit'),
  ]);
  return { told: JSON.parse(told.toString()) as Told, output };
}

for (const how of ['pipe', 'pipeline', 'sendFile']) {
  kernelTest(`stdout as a socket (what spawn gives): ${how}`, async (t) => {
    const { told, output } = await run(how, 'pipe');
    t.true(output.equals(expected));
    t.like(told, { method: 'sendfile', bytes: size });
  });

  kernelTest(`stdout as a file, and as one that is appended to: ${how}`, async (t) => {
    for (const flags of ['w', 'a']) {
      const target = join(directory, `stdout-${how}-${flags}`);
      const fd = openSync(target, flags);
      const { told } = await run(how, fd);
      closeSync(fd);
      t.true(readFileSync(target).equals(expected), flags);
      // sendfile refuses O_APPEND (kernel-rules: seekable-source)
      t.is(told.method, flags === 'w' ? 'sendfile' : 'copy');
      t.is(told.bytes, size);
      if (flags === 'a') t.regex(told.reason ?? '', /refused by the kernel \(EINVAL\)/);
    }
  });

  kernelTest(`stdout as a pipe: ${how}`, async (t) => {
    // A shell's pipe: `spawn` itself would make a pair of sockets.
    const shell = spawn('sh', ['-c', '"$0" "$1" "$2" "$3" | cat', process.execPath, child, how, path], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const [output, told] = await Promise.all([collect(shell.stdout), collect(shell.stderr), once(shell, 'exit')]);
    t.true(output.equals(expected));
    t.like(JSON.parse(told.toString()), { method: 'sendfile', bytes: size });
  });
}

for (const how of ['destroyed', 'unpiped', 'lease']) {
  kernelTest(
    `stdout as a file, left in the middle (${how}): as many bytes as it tells, and what follows`,
    async (t) => {
      const target = join(directory, `stdout-${how}`);
      const fd = openSync(target, 'w');
      const { told } = await run(how, fd);
      closeSync(fd);
      t.is(told.method, 'sendfile');
      t.is(told.reason, how === 'lease' ? 'ERR_ZEROCOPY_LEASE_BROKEN' : undefined);
      t.true(told.bytes > 0 && told.bytes < size, String(told.bytes));
      t.true(
        readFileSync(target).equals(
          Buffer.concat([Buffer.from('before '), content.subarray(0, told.bytes), Buffer.from(' after')]),
        ),
      );
    },
  );
}

kernelTest("a child's stdin: it gets every byte, and the end", async (t) => {
  for (const how of ['pipeline', 'sendFile'] as const) {
    const cat = spawn('cat', { stdio: ['pipe', 'pipe', 'inherit'] });
    const output = collect(cat.stdout);
    if (how === 'pipeline') {
      const stream = createSendfileStream(path);
      await pipeline(stream, cat.stdin);
      t.is(stream.method, 'sendfile');
    } else {
      t.like(await sendFile(cat.stdin, path), { method: 'sendfile', bytes: size });
      cat.stdin.end();
    }
    t.true((await output).equals(content), how);
  }
});

kernelTest('a child that does not read on: EPIPE as with fs.createReadStream, no crash', async (t) => {
  const { createReadStream } = await import('node:fs');
  const codes: (string | undefined)[] = [];
  for (const make of [createReadStream, createSendfileStream as unknown as typeof createReadStream]) {
    const head = spawn('head', ['-c', '10'], { stdio: ['pipe', 'ignore', 'inherit'] });
    await pipeline(make(path), head.stdin).catch((error: NodeJS.ErrnoException) => codes.push(error.code));
  }
  // Node's own is told of the child's exit first, or of the failed write: either.
  t.true(codes.length === 2 && codes.every((code) => code === 'EPIPE' || code === 'ERR_STREAM_PREMATURE_CLOSE'));
});
