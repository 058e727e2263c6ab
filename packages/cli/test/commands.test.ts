/** `zerocopy tee`, `probe` and `bench`, and the documents that are made from the table of commands. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import net, { type AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { until } from '@zerocopy/testing/waiting';
import test from 'ava';
import { program, start, temporary, zerocopy } from './harness.js';

const directory = temporary(test);
const pattern = (length: number): Buffer => Buffer.from(Array.from({ length }, (_, index) => index % 251));

test('tee: files, a socket and standard output get all of it, and one that fails does not stop the others', async (t) => {
  const bytes = Buffer.from('some text\n'.repeat(30_000));
  const [one, two] = [join(directory, 'one'), join(directory, 'two')];
  writeFileSync(two, 'before ');
  const received: Buffer[] = [];
  const server = net.createServer((socket) => socket.on('data', (chunk) => received.push(chunk)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const ended = once(server, 'connection').then(([socket]) => once(socket, 'end'));
  const { port } = server.address() as AddressInfo;
  const all = await zerocopy(['tee', one, `tcp://127.0.0.1:${port}`], undefined, bytes);
  t.is(all.status, 0, all.err);
  t.is(all.out, bytes.toString());
  await ended;
  server.close();
  t.true(Buffer.concat(received).equals(bytes));
  t.true(readFileSync(one).equals(bytes));
  t.regex(all.err, /^zerocopy tee: 3 destinations: 293\.0 KiB in /);
  const append = await zerocopy(['tee', '-n', '-a', '-q', two], undefined, bytes);
  t.deepEqual([append.status, append.out, append.err], [0, '', '']);
  t.is(readFileSync(two, 'utf8'), `before ${bytes}`);
  const partly = await zerocopy(['tee', '-n', '--json', '/dev/full', one], undefined, bytes);
  t.is(partly.status, 1);
  t.regex(partly.err, /\/dev\/full: .*ENOSPC/);
  const told = JSON.parse(partly.err.trim().split('\n').at(-1) ?? '') as { destinations: { bytes: number }[] };
  t.is(told.destinations[1]?.bytes, bytes.length);
  t.true(readFileSync(one).equals(bytes));
});

test('tee: what comes by a connection, made or accepted', async (t) => {
  const bytes = pattern(300_000);
  const target = join(directory, 'received');
  const path = join(directory, 'source.sock');
  const server = net.createServer((socket) => socket.end(bytes)).listen(path);
  await once(server, 'listening');
  t.is((await zerocopy(['tee', '-n', '--connect', `unix:${path}`, target])).status, 0);
  server.close();
  t.true(readFileSync(target).equals(bytes));
  const own = join(directory, 'own.sock');
  const waiting = start(['tee', '-n', '-l', `unix:${own}`, join(directory, 'accepted')]);
  await waiting.said(/waiting at/);
  const socket = net.connect(own).on('data', () => {});
  socket.end(bytes);
  await waiting.said(/destinations?: 293\.0 KiB/);
  t.is(await waiting.ended, 0);
  t.true(readFileSync(join(directory, 'accepted')).equals(bytes));
});

test('tee: a reader of standard output that has had enough is no failure', async (t) => {
  const child = spawn(process.execPath, [program, 'tee'], { stdio: ['pipe', 'pipe', 'pipe'] });
  child.stdin.on('error', () => {}).write(pattern(2 ** 20));
  await once(child.stdout, 'readable');
  child.stdout.destroy();
  let err = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    err += text;
  });
  const [status] = await once(child, 'close');
  t.is(status, 0, err);
  child.stdin.destroy();
});

test('tee: what the other side of a connection says neither stops it nor costs it a byte', async (t) => {
  const bytes = pattern(8 * 2 ** 20);
  let received = 0;
  const closed = new Promise<boolean>((resolve) => {
    const server = net.createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('data', (chunk) => {
        received += chunk.length;
      });
      socket.pipe(socket).on('error', () => {});
      socket.on('close', (hadError) => {
        server.close();
        resolve(hadError);
      });
    });
    server.listen(join(directory, 'echo.sock'));
  });
  const { status, err } = await zerocopy(['tee', '-n', `unix:${join(directory, 'echo.sock')}`], undefined, bytes);
  t.is(status, 0, err);
  t.false(await closed);
  t.is(received, bytes.length);
});

test('tee: a peer that has said something is waited for until it ends, but one that never ends not for ever', async (t) => {
  const bytes = pattern(300_000);
  for (const ends of [true, false]) {
    const path = join(directory, `talks-${ends}.sock`);
    let received = 0;
    let hasEnded = false;
    const server = net.createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => {}).write('I say something');
      socket.on('data', (chunk) => {
        received += chunk.length;
      });
      socket.on('end', () => {
        if (!ends) return;
        // A slow peer: what does not wait for it is over by then.
        setTimeout(() => {
          hasEnded = true;
          socket.end();
        }, 200);
      });
      socket.on('close', () => server.close());
    });
    server.listen(path);
    await once(server, 'listening');
    const closed = once(server, 'close');
    const { status, err } = await zerocopy(['tee', '-n', `unix:${path}`], undefined, bytes);
    t.is(status, 0, err);
    if (ends) t.true(hasEnded, 'before it is over');
    await until(() => received === bytes.length);
    if (ends) await closed;
    else server.close();
  }
});

test('probe: of a directory it says what a file in it can do, and leaves nothing there', async (t) => {
  const folder = join(directory, 'folder');
  mkdirSync(folder);
  writeFileSync(join(directory, 'beside'), 'not empty');
  const { status, out } = await zerocopy(['probe', '--json', folder, join(directory, 'beside')]);
  t.true([0, 3].includes(status));
  const [inside, beside] = (JSON.parse(out) as { paths: Record<string, unknown>[] }).paths;
  t.deepEqual({ ...inside, path: '' }, { ...beside, path: '' });
  t.is(inside?.path, folder);
  t.deepEqual(readdirSync(folder), []);
  const none = await zerocopy(['probe', join(directory, 'none')]);
  t.is(none.status, 1);
  t.regex(none.err, /ENOENT/);
});

/** Commands, and the options of each, as the help has them. */
async function helped(): Promise<Map<string, string[]>> {
  const { out } = await zerocopy(['--help']);
  const names = [...out.matchAll(/^ {2}([a-z]+) {2,}/gm)].map(([, name]) => name as string);
  const commands = new Map<string, string[]>();
  for (const name of names) {
    const help = (await zerocopy([name, '--help'])).out;
    commands.set(
      name,
      [...help.matchAll(/^ {2}(?:-\w, )?--([a-z-]+)/gm)].map(([, option]) => option as string),
    );
  }
  return commands;
}

test('the manual and all completions have every command and option that the help has', async (t) => {
  const commands = await helped();
  t.deepEqual([...commands.keys()], ['probe', 'serve', 'proxy', 'cp', 'tee', 'bench', 'completion', 'man']);
  t.true(commands.get('cp')?.includes('direct'));
  const manual = (await zerocopy(['man'])).out;
  const installed = readFileSync(join(dirname(program), 'zerocopy.1'), 'utf8');
  t.is(installed, manual, 'the page that npm installs is of this build');
  const scripts = await Promise.all(
    ['bash', 'zsh', 'fish'].map(async (shell) => (await zerocopy(['completion', shell])).out),
  );
  for (const [name, options] of commands) {
    const part = new RegExp(`^\\.SS zerocopy ${name} [^]*?(?=^\\.S[SH])`, 'm').exec(manual)?.[0] ?? '';
    for (const option of options.filter((one) => !['help', 'version'].includes(one))) {
      t.regex(
        part,
        new RegExp(`^\\\\fB.*\\\\-\\\\-${option.replaceAll('-', '\\\\-')}(\\\\fR|=|\\[)`, 'm'),
        `${name} ${option}`,
      );
    }
    const [bash = '', zsh = '', fish = ''] = scripts;
    for (const option of options) {
      const lines = (text: string, start: string): string[] => text.split('\n').filter((line) => line.includes(start));
      t.true(bash.includes(`    ${name})\n`));
      t.true(
        lines(zsh, `    (${name}) `).some((line) => line.includes(`--${option}`)),
        `zsh ${name} ${option}`,
      );
      t.true(
        lines(fish, `_from ${name}'`).some((line) => line.includes(`-l ${option} `)),
        `fish ${name} ${option}`,
      );
    }
  }
  for (const [shell, script] of [
    ['bash', scripts[0]],
    ['zsh', scripts[1]],
    ['fish', scripts[2]],
  ] as const) {
    const path = join(directory, `completion.${shell}`);
    writeFileSync(path, script ?? '');
    const { status, error, stderr } = spawnSync(shell, ['-n', path], { encoding: 'utf8' });
    if (error === undefined) t.is(status, 0, stderr);
    else t.log(`${shell} is not installed`);
  }
  t.is((await zerocopy(['completion', 'tcsh'])).status, 2);
});

const [withBash, noBash] = existsSync('/bin/bash') ? [test, ''] : [test.skip, ' (needs /bin/bash)'];
withBash(`bash completes commands, options, values and shells${noBash}`, async (t) => {
  const path = join(directory, 'bash-completion');
  writeFileSync(path, (await zerocopy(['completion', 'bash'])).out);
  const completed = (...words: string[]): string[] => {
    const script = `source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _zerocopy; echo "\${COMPREPLY[*]}"`;
    const { stdout } = spawnSync('/bin/bash', ['-c', script, path, 'zerocopy', ...words], { encoding: 'utf8' });
    return stdout.trim().split(' ');
  };
  t.deepEqual(completed('pro'), ['probe', 'proxy']);
  t.deepEqual(completed('cp', '--re'), ['--recursive', '--recurse', '--reflink']);
  t.deepEqual(completed('cp', '--cache', '=', ''), ['keep', 'drop']);
  t.deepEqual(completed('serve', '--log', 'c'), ['common']);
  t.deepEqual(completed('completion', ''), ['bash', 'zsh', 'fish']);
});

test('bench: a server that says nothing is given up, and named', async (t) => {
  const bin = join(directory, 'bin');
  mkdirSync(bin);
  const silent = `#!${process.execPath}
const { argv } = process;
if (argv.includes('-v')) console.error('nginx version: nginx/0.0.0');
else require('net').createServer(() => {}).listen(
  Number(/listen 127\\.0\\.0\\.1:(\\d+)/.exec(require('fs').readFileSync(argv[argv.indexOf('-c') + 1], 'utf8'))[1]), '127.0.0.1');
`;
  writeFileSync(join(bin, 'nginx'), silent, { mode: 0o755 });
  const args = ['bench', '--size', '4K', '--rounds', '1', '--turn', '5ms', '--patience', '1s'];
  const child = spawn(process.execPath, [program, ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, PATH: `${bin}:${process.env.PATH}` },
  });
  const closed = once(child, 'close');
  let stderr = '';
  for await (const text of child.stderr.setEncoding('utf8')) stderr += text;
  t.deepEqual(await closed, [1, null], stderr);
  t.regex(stderr, /nginx has not sent anything for 1 s/);
});

test('bench: every server answers with the bytes of the file, and figures come of it', async (t) => {
  const args = ['bench', '--json', '--size', '4K', '--rounds', '1', '--turn', '5ms'];
  const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  const closed = once(child, 'close');
  let stdout = '';
  for await (const text of child.stdout.setEncoding('utf8')) stdout += text;
  t.deepEqual(await closed, [0, null]);
  const { machine, figures } = JSON.parse(stdout) as {
    machine: { nginx: string | null; load: number[] };
    figures: { name: string; size: number; bytesPerSecond: number; turns: unknown[] }[];
  };
  const own = ['createReadStream', 'createSendfileStream', 'sendFile', 'serveFiles'];
  t.deepEqual(
    figures.map(({ name }) => name),
    machine.nginx === null ? own : [...own, 'nginx'],
  );
  t.true(figures.every(({ size, bytesPerSecond, turns }) => size === 4096 && bytesPerSecond > 0 && turns.length === 1));
  t.is(machine.load.length, 2);
});
