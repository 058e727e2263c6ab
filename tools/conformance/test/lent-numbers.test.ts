/** Numbers that ways lend to streams: closed when nothing reads or writes by them, or what has them next would be read. */
import { createReadStream, fstatSync } from 'node:fs';
import { Stage } from '@zerocopy/conformance/ways/stage';
import { temporaryDirectory } from '@zerocopy/testing/files';
import test from 'ava';

const stageFor = (): Stage => new Stage({ directory: temporaryDirectory(), content: Buffer.alloc(300_000, 'content') });

const isOpen = (fd: number): boolean => {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
};

for (const reads of ['reads', 'has been read']) {
  test.serial(`a stream that ${reads} by a lent number is closed before the number is`, async (t) => {
    const stage = stageFor();
    const fd = stage.lend(stage.file(), 'r');
    const stream = createReadStream('', { fd, autoClose: false });
    stage.lentTo(stream, fd);
    if (reads === 'reads') stream.once('data', () => {});
    else for await (const _chunk of stream.iterator({ destroyOnReturn: false }));
    await stage.dispose();
    t.true(stream.closed);
    t.false(isOpen(fd));
  });
}

test.serial(
  'of a number that has been taken away the stream is left alone: it would close what is another’s',
  async (t) => {
    const stage = stageFor();
    const fd = stage.lend(stage.file(), 'r');
    const stream = createReadStream('', { fd, autoClose: false });
    stage.lentTo(stream, fd);
    stage.take('numbers');
    await stage.dispose();
    t.false(stream.destroyed);
  },
);
