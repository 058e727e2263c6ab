/** An errno is "not this way" only where a table says so, and EPERM and EACCES only where the file itself does not. */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { constants } from '@zerocopy/core-syscalls';
import { filesystemOf } from '@zerocopy/core-syscalls/descriptors';
import { describeRefusal, type Refusal, refusalOf } from '@zerocopy/transfer';
import test, { type ExecutionContext } from 'ava';

const { EACCES, EINVAL, EIO, ENOSPC, EPERM } = constants;
const directory = mkdtempSync(join(tmpdir(), 'zerocopy-refusals-'));
test.after.always(() => rmSync(directory, { recursive: true, force: true }));

function opened(t: ExecutionContext, name: string): number {
  const fd = openSync(join(directory, name), 'w+');
  t.teardown(() => closeSync(fd));
  return fd;
}

/** Until the test is over. False where that cannot be done. */
function makeImmutable(t: ExecutionContext, name: string): boolean {
  const path = join(directory, name);
  try {
    execFileSync('chattr', ['+i', path], { stdio: 'ignore' });
  } catch {
    return false;
  }
  t.teardown(() => execFileSync('chattr', ['-i', path]));
  return true;
}

function table(filesystem: string): readonly Refusal[] {
  return [
    { errno: EINVAL, reason: 'the file cannot be mapped', learnt: 'sendfile(2)' },
    { errno: EPERM, reason: 'the call is forbidden', learnt: 'seccomp(2)' },
    { errno: EACCES, reason: 'the call is forbidden', learnt: 'seccomp(2)' },
    { errno: EIO, reason: 'the filesystem cannot do it', learnt: 'copy_file_range(2)', filesystems: [filesystem] },
  ];
}

test('only what the table holds is a refusal, and it says why', (t) => {
  const rows = table('cifs');
  const [row] = rows;
  t.is(refusalOf(rows, -EINVAL), row);
  t.is(refusalOf(rows, -ENOSPC), undefined);
  t.is(
    describeRefusal('sendfile', row as Refusal),
    'sendfile was refused by the kernel (EINVAL): the file cannot be mapped',
  );
});

test('a row for some filesystems holds if either file is on one of them', (t) => {
  const fd = opened(t, 'where');
  const here = table(filesystemOf(fd).name);
  t.is(refusalOf(here, -EIO, fd)?.errno, EIO);
  t.is(refusalOf(here, -EIO, undefined, fd)?.errno, EIO);
  t.is(refusalOf(here, -EIO), undefined);
  t.is(refusalOf(table('no such filesystem'), -EIO, fd, fd), undefined);
});

for (const errno of [EPERM, EACCES]) {
  test(`${errno === EPERM ? 'EPERM' : 'EACCES'} is not believed where there is nothing to ask`, (t) => {
    const fd = opened(t, `plain-${errno}`);
    t.is(refusalOf(table('cifs'), -errno), undefined);
    t.is(refusalOf(table('cifs'), -errno, -1), undefined);
    t.is(refusalOf(table('cifs'), -errno, fd)?.errno, errno);
  });
}

test('EPERM of a file that may not be changed is an error (tried where chattr +i can be used)', (t) => {
  const fd = opened(t, 'immutable');
  const marked = makeImmutable(t, 'immutable');
  t.is(refusalOf(table('cifs'), -EPERM, fd)?.errno, marked ? undefined : EPERM);
});
