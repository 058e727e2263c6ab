/** Programs that put our file stream in the place of Node's: everything that node:fs makes from then on is ours, and works. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { temporaryDirectory } from './harness.js';

const directory = temporaryDirectory();
const index = import.meta.resolve('@zerocopy/splice-pipe');

const orders: Record<string, string> = {
  'class, function, exports': 'fs.WriteStream = Ours; fs.createWriteStream = create; syncBuiltinESMExports();',
  'function, class, exports': 'fs.createWriteStream = create; fs.WriteStream = Ours; syncBuiltinESMExports();',
  'exports between':
    'fs.WriteStream = Ours; syncBuiltinESMExports(); fs.createWriteStream = create; syncBuiltinESMExports();',
  'exports left as they are': 'fs.WriteStream = Ours; fs.createWriteStream = create;',
  'the class alone': 'fs.WriteStream = Ours; syncBuiltinESMExports();',
  'the prototype, too':
    'fs.WriteStream = Ours; fs.FileWriteStream = Ours; fs.createWriteStream = create; syncBuiltinESMExports();',
  'twice, on top of itself':
    'for (let n = 0; n < 2; n++) { fs.WriteStream = Ours; fs.createWriteStream = create; syncBuiltinESMExports(); }',
};

for (const [name, replace] of Object.entries(orders)) {
  test(`fs.WriteStream replaced (${name}): written, flushed, piped from a socket and by splice()`, async (t) => {
    const path = join(directory, name.replaceAll(/\W/g, '-'));
    const program = `
      import fs from 'node:fs';
      import net from 'node:net';
      import { once } from 'node:events';
      import { syncBuiltinESMExports } from 'node:module';
      import { Readable } from 'node:stream';
      import { pipeline } from 'node:stream/promises';
      import { createSpliceWriteStream as create, splice, SpliceWriteStream as Ours } from '${index}';
      const Node = fs.WriteStream;
      ${replace}
      const path = process.argv[1];
      const written = fs.createWriteStream(path + '-written', { flush: true });
      written.write('one ');
      written.end('two');
      await once(written, 'close');
      const made = new fs.WriteStream(path + '-made');
      console.log(made instanceof Node, made instanceof Ours);
      made.end('made');
      await once(made, 'close');
      const server = net.createServer((socket) => socket.end(Buffer.alloc(300000, 's'))).listen(0, '127.0.0.1');
      await once(server, 'listening');
      const socket = net.connect(server.address().port, '127.0.0.1');
      await once(socket, 'connect');
      await pipeline(socket, fs.createWriteStream(path + '-piped'));
      const copy = fs.createWriteStream(path + '-copied');
      console.log((await splice(Readable.from(['cop', 'ied']), copy)).bytes);
      copy.end();
      await once(copy, 'close');
      server.close();
    `;
    const run = promisify(execFile);
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', program, path], { timeout: 20_000 });
    t.is(stdout, 'true true\n6\n');
    t.is(readFileSync(`${path}-written`, 'utf8'), 'one two');
    t.is(readFileSync(`${path}-made`, 'utf8'), 'made');
    t.is(readFileSync(`${path}-piped`, 'utf8'), 's'.repeat(300_000));
    t.is(readFileSync(`${path}-copied`, 'utf8'), 'copied');
  });
}
