/** The declarations as programs use them, under each way of resolving modules. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';

const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');
const directory = fileURLToPath(new URL('.', import.meta.url));

const PROGRAM = `
import { createSendfileStream, SendfileReadStream } from '@zerocopy/sendfile-stream';
const stream: SendfileReadStream = createSendfileStream('x');
const message: string[] = [];
createSendfileStream('x')
  .on('error', (e) => message.push(e.message))
  .on('data', (chunk) => message.push(String(chunk.length)))
  .on('open', (fd) => fd.toFixed())
  .once('progress', (bytes, total) => bytes.toFixed() + total.toFixed())
  .addListener('close', () => {});
stream.on('progress', (bytes: number, total: number) => bytes + total).method?.toUpperCase();
// @ts-expect-error a count of bytes is no string
createSendfileStream('x').on('progress', (bytes) => bytes.toUpperCase());
`;

for (const [module, moduleResolution] of [
  ['nodenext', 'nodenext'],
  ['node16', 'node16'],
  ['esnext', 'bundler'],
] as const) {
  test(`events type-check with moduleResolution ${moduleResolution}`, (t) => {
    const file = join(directory, `types-${moduleResolution}.mts`);
    writeFileSync(file, PROGRAM);
    const options = ['--noEmit', '--strict', '--target', 'es2022', '--types', 'node'];
    // Programs without this check our declarations, too: once is enough.
    if (moduleResolution !== 'nodenext') options.push('--skipLibCheck');
    t.notThrows(() =>
      execFileSync(
        process.execPath,
        [tsc, ...options, '--module', module, '--moduleResolution', moduleResolution, file],
        {
          encoding: 'utf8',
          stdio: 'pipe',
        },
      ),
    );
  });
}
