/** Node's permission model is asked for paths that a system call is given, and says what it says of node:fs. */
import { execFile } from 'node:child_process';
import { constants as fs, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test from 'ava';

const directory = realpathSync(mkdtempSync(join(tmpdir(), 'zerocopy-permission-')));
test.after.always(() => rmSync(directory, { recursive: true, force: true }));

const flag = process.allowedNodeEnvironmentFlags.has('--permission') ? '--permission' : '--experimental-permission';
const root = fileURLToPath(new URL('../../..', import.meta.url));
const fixture = fileURLToPath(new URL('./fixtures/permission.js', import.meta.url));

test('what may be opened may be, what may not is denied in the words of node:fs', async (t) => {
  const readable = join(directory, 'readable');
  const secret = join(directory, 'secret');
  for (const path of [readable, secret]) writeFileSync(path, 'content');
  const opened = [
    [readable, fs.O_RDONLY],
    [readable, fs.O_RDWR],
    [readable, fs.O_WRONLY],
    [readable, fs.O_RDONLY | fs.O_CREAT],
    [secret, fs.O_RDONLY],
    [secret, fs.O_WRONLY | fs.O_CREAT],
    [join(directory, 'nothing', '..', 'secret'), fs.O_RDWR],
  ];
  const args = [flag, '--allow-addons', `--allow-fs-read=${root}`, `--allow-fs-read=${readable}`, fixture];
  const { stdout } = await promisify(execFile)(process.execPath, [...args, JSON.stringify(opened)]);
  const outcomes = JSON.parse(stdout) as { ours: unknown; node: unknown }[];
  t.is(outcomes.length, 9 * opened.length);
  for (const { ours, node } of outcomes) t.deepEqual(ours, node);
  t.is(outcomes[0]?.ours, null);
  t.like(outcomes[36]?.ours, { code: 'ERR_ACCESS_DENIED', permission: 'FileSystemRead', resource: secret });
  t.like(outcomes[45]?.ours, { code: 'ERR_ACCESS_DENIED', permission: 'FileSystemWrite', resource: secret });
});
