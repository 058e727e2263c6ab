/** Opening: once, beneath the root, regular files only; whatever else lies there delays nobody. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { feature } from '@zerocopy/core-syscalls';
import { plan, sendFileResponse } from '@zerocopy/serve-files';
import test, { type TestFn } from 'ava';
import { ask, KiB, openDescriptors, pattern, pause, tree, until, withFiles, withListener } from './harness.js';

const linuxTest = (process.platform === 'linux' ? test : test.skip) as TestFn;
const serial = (process.platform === 'linux' ? test.serial : test.skip) as TestFn;

linuxTest('a FIFO is 404, delays no other request, and wakes no writer', async (t) => {
  const root = tree({ 'a.txt': 'a' });
  const fifo = join(root, 'fifo');
  execFileSync('mkfifo', [fifo]);
  symlinkSync('fifo', join(root, 'link-to-fifo'));
  // A writer waits in open(2) until somebody opens the FIFO for reading.
  const writer = spawn('sh', ['-c', 'echo written > fifo'], { cwd: root, stdio: 'ignore' });
  await withFiles(root, { listing: true, precompressed: true }, async (port) => {
    await pause(100);
    const asked: Promise<number>[] = [];
    for (let n = 0; n < 20; n++)
      asked.push(ask(port, n % 2 === 0 ? '/fifo' : '/link-to-fifo').then(({ status }) => status));
    t.is((await ask(port, '/a.txt')).status, 200);
    t.is((await ask(port, '/')).status, 200);
    t.deepEqual([...new Set(await Promise.all(asked))], [404]);
  });
  t.is(writer.exitCode, null, 'the writer still waits');
  const ended = once(writer, 'exit');
  t.is(readFileSync(fifo, 'utf8'), 'written\n', 'nothing of it was lost');
  await ended;
});

linuxTest('sockets, devices and directories are 404', async (t) => {
  const root = tree({ 'dir/x': '' });
  const listener = net.createServer();
  listener.listen(join(root, 'socket'));
  await once(listener, 'listening');
  await withFiles(root, { index: 'dir' }, async (port) => {
    t.is((await ask(port, '/socket')).status, 404);
    t.is((await ask(port, '/')).status, 404, 'an index that is a directory');
  });
  listener.close();
  await withFiles('/dev', {}, async (port) => {
    for (const name of ['/null', '/zero', '/tty']) t.is((await ask(port, name)).status, 404, name);
  });
});

linuxTest('files of procfs and sysfs, whose size is made up, are served whole', async (t) => {
  await withFiles('/proc', {}, async (port) => {
    const { status, headers, body } = await ask(port, '/version');
    t.is(status, 200);
    t.is(body.toString(), readFileSync('/proc/version', 'utf8'));
    t.is(headers['content-length'], String(body.length));
    t.is(headers['accept-ranges'], undefined);
    t.is((await ask(port, '/version', { method: 'HEAD' })).headers['content-length'], String(body.length));
    t.is((await ask(port, '/self/exe')).status, 404);
  });
  await withFiles('/sys/kernel', {}, async (port) => {
    const { status, body } = await ask(port, '/profiling');
    if (status === 200) t.is(body.toString(), readFileSync('/sys/kernel/profiling', 'utf8'));
    else t.is(status, 404);
  });
});

test('what this process may not read is not told from what does not exist', async (t) => {
  const root = tree({ 'a.txt': 'a', 'locked/b.txt': 'b' });
  execFileSync('chmod', ['000', join(root, 'a.txt'), join(root, 'locked')]);
  const expected = process.getuid?.() === 0 ? 200 : 404;
  await withFiles(root, {}, async (port) => {
    t.is((await ask(port, '/a.txt')).status, expected);
    t.is((await ask(port, '/locked/b.txt')).status, expected);
  });
  execFileSync('chmod', ['755', join(root, 'a.txt'), join(root, 'locked')]);
});

test('a root that does not exist is 404, and served once it does', async (t) => {
  const root = join(tree({}), 'later');
  await withFiles(root, {}, async (port) => {
    t.is((await ask(port, '/a.txt')).status, 404);
    mkdirSync(root);
    writeFileSync(join(root, 'a.txt'), 'a');
    t.is((await ask(port, '/a.txt')).body.toString(), 'a');
  });
  const file = join(tree({ 'a.txt': 'a' }), 'a.txt');
  await withFiles(file, {}, async (port) => {
    t.is((await ask(port, '/')).status, 404, 'a root that is a file');
  });
});

test('header fields and body are of one descriptor, whatever comes to lie at the path', async (t) => {
  const root = tree({ file: 'first content', other: 'x' });
  const path = join(root, 'file');
  await withListener(
    async (request, response) => {
      const made = await plan(request, root);
      renameSync(join(root, 'other'), path); // between the plan and its body
      t.is(made.headers['content-length'], '13');
      const [part] = made.parts;
      t.true(part !== undefined && 'file' in part);
      if (part !== undefined && 'file' in part) t.is(readFileSync(part.file.fd, 'utf8'), 'first content');
      made.release();
      made.release();
      if (part !== undefined && 'file' in part) t.is(part.file.fd, -1, 'closed');
      response.end();
    },
    async (port) => void (await ask(port, '/file')),
  );
});

serial('too many open files: 503, and served again afterwards', async (t) => {
  const root = tree({ 'a.txt': 'a' });
  const program = `
    import { serveFiles } from '@zerocopy/serve-files';
    import http from 'node:http';
    import { openSync, closeSync } from 'node:fs';
    const errors = [];
    const server = http.createServer(serveFiles(process.argv[1])).listen(0, '127.0.0.1', async () => {
      const url = 'http://127.0.0.1:' + server.address().port + '/a.txt';
      const get = () => new Promise((resolve) => http.get(url, { agent }, (r) => { r.resume(); r.on('end', () => resolve(r.statusCode)); }));
      const agent = new http.Agent({ keepAlive: true });
      const before = await get();
      const held = [];
      try { for (;;) held.push(openSync('/dev/null')); } catch {}
      const meanwhile = await get();
      for (const fd of held) closeSync(fd);
      console.log(JSON.stringify([before, meanwhile, await get()]));
      process.exit();
    });`;
  const output = execFileSync(
    'sh',
    ['-c', 'ulimit -n 64; exec "$0" --input-type=module -e "$1" "$2"', process.execPath, program, root],
    {
      cwd: new URL('..', import.meta.url),
      encoding: 'utf8',
    },
  );
  t.deepEqual(JSON.parse(output), [200, 503, 200]);
});

serial('requests leave no descriptor, whatever they ask for', async (t) => {
  const root = tree({
    'a.txt': 'a',
    'b.bin': pattern(200 * KiB),
    'a.txt.gz': 'gz',
    'dir/index.html': 'x',
    'list/x': 'x',
  });
  await withFiles(root, { precompressed: true, listing: true }, async (port) => {
    const round = async (): Promise<void> => {
      for (const target of ['/a.txt', '/b.bin', '/dir', '/dir/', '/list/', '/nothing', '/a.txt/', '/%zz']) {
        await ask(port, target);
        await ask(port, target, { method: 'HEAD', headers: ['Accept-Encoding: gzip'] });
        await ask(port, target, { headers: ['If-None-Match: *'] });
        await ask(port, target, { headers: ['Range: bytes=0-1,5-6'] });
        await ask(port, target, { headers: ['Range: bytes=9999999-'] });
      }
    };
    await round();
    const before = openDescriptors();
    await round();
    await until(() => openDescriptors() <= before, 'no descriptor left');
    t.pass();
  });
});

const flag = process.allowedNodeEnvironmentFlags.has('--permission') ? '--permission' : '--experimental-permission';

test('the permission model of Node is asked', (t) => {
  const root = tree({ 'open/a.txt': 'a', 'closed/b.txt': 'b' });
  const program = `
    const { plan } = await import('@zerocopy/serve-files');
    const statuses = [];
    for (const url of ['/open/a.txt', '/closed/b.txt']) statuses.push((await plan({ url }, ${JSON.stringify(root)})).status);
    console.log(JSON.stringify(statuses));
    process.exit();`;
  const allowed = [
    `--allow-fs-read=${new URL('../../..', import.meta.url).pathname}*`,
    `--allow-fs-read=${root}/open/*`,
  ];
  const addons = process.allowedNodeEnvironmentFlags.has('--allow-addons') ? ['--allow-addons'] : [];
  const output = execFileSync(
    process.execPath,
    ['--no-warnings', flag, ...addons, ...allowed, '--input-type=module', '-e', program],
    { cwd: new URL('..', import.meta.url), encoding: 'utf8' },
  );
  // Without openat2 the root itself is looked at, too, which is not allowed here.
  t.deepEqual(JSON.parse(output), [feature('openat2').available ? 200 : 404, 404]);
});

serial(
  'a file that is replaced, cut, turned into something else between any two steps: an answer, and nothing left',
  async (t) => {
    const root = tree({ 'safe.txt': 'safe' });
    const outside = tree({ 'secret.txt': 'SECRET' });
    const path = join(root, 'target');
    const turns: readonly (() => void)[] = [
      () => writeFileSync(path, 'content'),
      () => mkdirSync(path),
      () => symlinkSync(join(outside, 'secret.txt'), path),
      () => symlinkSync('safe.txt', path),
      () => execFileSync('mkfifo', [path]),
      () => {},
    ];
    await withFiles(root, {}, async (port) => {
      await ask(port, '/safe.txt');
      const before = openDescriptors();
      let over = false;
      const asking = (async () => {
        const seen = new Set<number>();
        while (!over) {
          const { status, body } = await ask(port, '/target');
          seen.add(status);
          t.false(body.toString().includes('SECRET'));
        }
        return [...seen];
      })();
      for (let n = 0; n < 150; n++) {
        rmSync(path, { recursive: true, force: true });
        turns[n % turns.length]?.();
        await new Promise(setImmediate);
      }
      over = true;
      for (const status of await asking) t.true([200, 301, 404].includes(status), String(status));
      await until(() => openDescriptors() <= before, 'no descriptor left');
    });
  },
);

test('sendFileResponse: a path of the program’s own, confined', async (t) => {
  const root = tree({ 'private/report.pdf': '0123456789', 'private/.hidden': 'x', 'report.pdf.gz': 'x' });
  await withListener(
    async (request, response) => {
      response.setHeader('X-Own', '1');
      const path = decodeURIComponent((request.url ?? '').slice(1));
      const info = path.startsWith('short ')
        ? await sendFileResponse(response, join(root, 'private'), path.slice(6))
        : await sendFileResponse(request, response, join(root, 'private'), path, { download: true });
      t.is(info.method, String(request.method));
    },
    async (port) => {
      const whole = await ask(port, '/report.pdf');
      t.is(whole.body.toString(), '0123456789');
      t.is(whole.headers['x-own'], '1');
      t.is(whole.headers['content-type'], 'application/pdf');
      t.is(whole.headers['content-disposition'], 'attachment; filename=report.pdf');
      t.is((await ask(port, '/report.pdf', { headers: ['Range: bytes=1-2'] })).body.toString(), '12');
      t.is((await ask(port, '/report.pdf', { headers: [`If-None-Match: ${whole.headers.etag}`] })).status, 304);
      t.is((await ask(port, '/report.pdf', { method: 'POST' })).body.toString(), '0123456789');
      t.is((await ask(port, '/report.pdf', { method: 'HEAD' })).body.length, 0);
      t.is((await ask(port, '/short%20report.pdf')).body.toString(), '0123456789');
      for (const path of [
        '..%2freport.pdf.gz',
        '%2fetc%2fpasswd',
        '.hidden',
        'a%00b',
        '',
        'report.pdf%2f',
        'nothing',
      ]) {
        t.is((await ask(port, `/${path}`)).status, 404, path);
      }
    },
  );
  await t.throwsAsync(sendFileResponse({} as never, {} as never, root, 1 as never), { code: 'ERR_INVALID_ARG_TYPE' });
});

linuxTest('what is opened on other threads while the root is replaced is still confined', async (t) => {
  const root = tree({ 'a/x.txt': 'a' });
  const current = join(root, 'current');
  symlinkSync('a', current);
  for (let n = 0; n < 20; n++) {
    mkdirSync(join(root, `r${n}`));
    writeFileSync(join(root, `r${n}`, 'x.txt'), `r${n}`);
  }
  await withFiles(current, {}, async (port) => {
    for (let n = 0; n < 20; n++) {
      const both = [ask(port, '/x.txt'), ask(port, '/x.txt')];
      unlinkSync(current);
      symlinkSync(`r${n}`, current);
      for (const answer of await Promise.all(both)) t.true([200, 404].includes(answer.status));
      t.is((await ask(port, '/x.txt')).body.toString(), `r${n}`);
    }
  });
  closeSync(openSync('/dev/null', 'r'));
});
