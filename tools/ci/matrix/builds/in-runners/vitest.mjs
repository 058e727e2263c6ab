import { createRequire } from 'node:module';
import { libcStatus } from '@zerocopy/core-syscalls';
import { stats } from '@zerocopy/pipeline';
import { sendFile } from '@zerocopy/sendfile-stream';
import { expect, test, vi } from 'vitest';
import './imported.mjs';

const require = createRequire(import.meta.url);
const { moved } = require('./moving.cjs');
const { piped } = require('./piping.cjs');

test('one copy of each package, and the kernel moves', async () => {
  expect(require('@zerocopy/core-syscalls').libcStatus).toBe(libcStatus);
  expect(await moved(sendFile)).toBe('sendfile');
});

test('with timers that are fake', async () => {
  vi.useFakeTimers();
  expect(await moved(sendFile)).toBe('sendfile');
  expect(await piped(stats)).toBe(1);
  vi.useRealTimers();
});

test('what is piped goes beneath', async () => {
  expect(await piped(stats)).toBe(1);
});
