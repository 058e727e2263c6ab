/** The streams' types are those of Node's, with 'progress': under every way in which programs resolve modules. */
import { fileURLToPath } from 'node:url';
import test from 'ava';
import ts from 'typescript';

const program = `
import { createWriteStream } from 'node:fs';
import type { Socket } from 'node:net';
import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createSpliceReadStream, createSpliceWriteStream, SpliceReadStream, SpliceWriteStream } from '@zerocopy/splice-pipe';

export function use(socket: Socket): void {
  const read = createSpliceReadStream(socket);
  read.on('error', (error) => error.message).on('data', (chunk) => chunk.length).on('end', () => {}).once('close', () => {});
  read.on('progress', (bytes) => bytes.toFixed()).on('pause', () => {}).method?.toUpperCase();
  read.once('progress', (bytes, total) => [bytes.toFixed(), total?.toFixed()]);
  read.prependListener('error', (error) => error.stack).prependOnceListener('progress', (bytes) => bytes.toFixed());
  read.addListener('progress', (bytes) => bytes.toFixed()).addListener('error', (error) => error.message);
  read.off('progress', () => {}).removeListener('data', () => {});
  read.emit('progress', 1, 2);
  const made = new SpliceReadStream(socket);
  made.on('error', (error) => error.message).on('progress', (bytes) => bytes.toFixed()).bytesMoved.toFixed();
  const readable: Readable = made;
  const drop: typeof createWriteStream = (...all) => createSpliceWriteStream(...all);
  const write = createSpliceWriteStream('path', { start: 1, fallback: 'never' });
  write.on('error', (error) => error.message).on('open', (fd) => fd.toFixed()).on('finish', () => {}).on('drain', () => {});
  write.on('progress', (bytes) => bytes.toFixed()).on('pipe', (source) => source.read()).once('ready', () => {});
  write.once('progress', (bytes, total) => [bytes.toFixed(), total?.toFixed()]).bytesWritten.toFixed();
  const own = new SpliceWriteStream('path');
  own.on('progress', (bytes) => bytes.toFixed()).on('error', (error) => error.message).close();
  const writable: Writable = own;
  void pipeline(read, write);
  void pipeline(readable, writable);
  drop('path').end();
  // @ts-expect-error so that it is seen that errors are
  read.nothing();
}
`;

const resolutions = {
  nodenext: { module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext },
  node16: { module: ts.ModuleKind.Node16, moduleResolution: ts.ModuleResolutionKind.Node16 },
  bundler: { module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler },
};

for (const [name, resolution] of Object.entries(resolutions)) {
  test(`a program that uses them as Node's type-checks: moduleResolution ${name}`, (t) => {
    const file = fileURLToPath(new URL('../test/virtual-program.ts', import.meta.url));
    const options: ts.CompilerOptions = {
      ...resolution,
      target: ts.ScriptTarget.ES2022,
      strict: true,
      noEmit: true,
      skipLibCheck: true,
      types: ['node'],
    };
    const host = ts.createCompilerHost(options);
    const { readFile, fileExists } = host;
    host.readFile = (path) => (path === file ? program : readFile.call(host, path));
    host.fileExists = (path) => path === file || fileExists.call(host, path);
    const { getSourceFile } = host;
    host.getSourceFile = (path, ...rest) =>
      path === file
        ? ts.createSourceFile(path, program, {
            languageVersion: ts.ScriptTarget.ES2022,
            impliedNodeFormat: ts.ModuleKind.ESNext,
          })
        : getSourceFile.call(host, path, ...rest);
    const diagnostics = ts.getPreEmitDiagnostics(ts.createProgram([file], options, host));
    t.deepEqual(
      diagnostics.map(({ messageText, start = 0 }) => [
        program.slice(0, start).split('\n').length,
        ts.flattenDiagnosticMessageText(messageText, '\n'),
      ]),
      [],
    );
  });
}
