/* global expect, jest, test */
const { libcStatus } = require('@zerocopy/core-syscalls');
const { sendFile } = require('@zerocopy/sendfile-stream');
const { moved } = require('./moving.cjs');

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
  jest.useRealTimers();
});
