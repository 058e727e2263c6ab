/** Standard output as a destination: never ended, and its reader's going away only rejects. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { kernelTest, temporaryDirectory, withPair } from './harness.js';

temporaryDirectory();
const index = import.meta.resolve('@zerocopy/splice-pipe');

/** Runs a module with its stdout a pipe; what it says on stderr, and how it ends. */
async function run(
  body: string,
  { close = false, stdout = 'pipe' as 'pipe' | import('node:net').Socket } = {},
): Promise<{ out: string; err: string; code: number | null }> {
  const program = `
    import net from 'node:net';
    import { once } from 'node:events';
    import { createSpliceReadStream, proxy, splice, tee } from '${index}';
    process.on('uncaughtException', (error) => { console.error('uncaught ' + error.code); process.exit(9); });
    const server = net.createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const writer = net.connect({ port: server.address().port, host: '127.0.0.1', allowHalfOpen: true });
    const [source] = await once(server, 'connection');
    server.close();
    const settled = (promise) => promise.then((result) => 'bytes ' + result.bytes, (error) => 'failed ' + error.code);
    ${body}
    writer.destroy(); source.destroy();
    await new Promise((resolve) => setTimeout(resolve, 50));
    console.error('alive');
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', stdout, 'pipe'] });
  let [out, err] = ['', ''];
  if (close) child.stdout?.destroy();
  else
    child.stdout?.on('data', (chunk) => {
      out += chunk;
    });
  child.stderr?.on('data', (chunk) => {
    err += chunk;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { out, err, code };
}

const ways: Record<string, string> = {
  splice: 'splice(source, process.stdout)',
  'splice, copied': "splice((await import('node:stream')).Readable.from([Buffer.alloc(100_000)]), process.stdout)",
  tee: 'tee(source, [process.stdout])',
  'tee with a file': "tee(source, [process.stdout, (await (await import('node:fs/promises')).open('/dev/null', 'w'))])",
};

for (const [way, call] of Object.entries(ways)) {
  kernelTest(`${way}: a stdout whose reader is gone: the promise tells, and nothing else`, async (t) => {
    const { err, code } = await run(`writer.end(Buffer.alloc(300_000)); console.error(await settled(${call}));`, {
      close: true,
    });
    t.is(code, 0, err);
    t.regex(err, way === 'tee with a file' ? /^bytes 300000/ : /^failed E/);
    t.regex(err, /alive/);
    t.notRegex(err, /uncaught/);
  });
}

kernelTest('what is written to stdout afterwards comes: it is not ended, by none of them', async (t) => {
  const calls: Record<string, string> = {
    splice: 'await splice(source, process.stdout)',
    tee: 'await tee(source, [process.stdout])',
  };
  for (const [way, call] of Object.entries(calls)) {
    const { out, err, code } = await run(`writer.end('whole'); ${call}; process.stdout.write(' and after');`);
    t.is(out, 'whole and after', `${way}: ${err}`);
    t.is(code, 0, way);
  }
});

kernelTest('a proxy with stdout, a socket, as one side does not end it', async (t) => {
  await withPair('unix', temporaryDirectory(), async ({ server, client }) => {
    const chunks: Buffer[] = [];
    client.on('data', (chunk: Buffer) => chunks.push(chunk));
    client.end('from outside');
    const { err, code } = await run(
      `writer.end('whole'); writer.resume();
       const { forward, backward } = await proxy(source, process.stdout);
       console.error(forward.bytes + ' ' + backward.bytes);
       process.stdout.write(' and after');`,
      { stdout: server },
    );
    t.is(code, 0, err);
    t.regex(err, /^5 0\n/);
    t.is(Buffer.concat(chunks).toString(), 'whole and after');
  });
});
