/* global expect, jest, test */
const { libcStatus } = require('@zerocopy/core-syscalls');
const { stats } = require('@zerocopy/pipeline');
const { sendFile } = require('@zerocopy/sendfile-stream');
const { moved } = require('./moving.cjs');
const { piped } = require('./piping.cjs');

require('@zerocopy/core-syscalls/descriptors');
require('@zerocopy/core-syscalls/native');
require('@zerocopy/file-copy');
require('@zerocopy/mmap-buffer');
require('@zerocopy/pipeline/promises');
require('@zerocopy/pipeline/register');
require('@zerocopy/serve-files');
require('@zerocopy/splice-pipe');

test('every package is required, and the kernel moves', async () => {
  expect(libcStatus()).toEqual({ available: true });
  expect(await moved(sendFile)).toBe('sendfile');
});

test('with timers that are fake', async () => {
  jest.useFakeTimers();
  expect(await moved(sendFile)).toBe('sendfile');
  expect(await piped(stats)).toBe(1);
  jest.useRealTimers();
});

test('what is piped goes beneath', async () => {
  expect(await piped(stats)).toBe(1);
});

test('where all modules are loaded once more, each pair is moved once', async () => {
  jest.resetModules();
  const again = require('@zerocopy/pipeline');
  require('@zerocopy/pipeline/register');
  expect(again.stats).not.toBe(stats);
  expect(await piped(stats)).toBe(1);
  expect(again.stats().transfers).toBe(0);
});
