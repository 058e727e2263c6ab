import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { sendFile } from '@zerocopy/sendfile-stream';
import './imported.mjs';
import moving from './moving.cjs';

test('with timers that are mocked', async () => {
  mock.timers.enable();
  assert.equal(await moving.moved(sendFile), 'sendfile');
  mock.timers.reset();
});
