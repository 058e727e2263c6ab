/* global it */
const assert = require('node:assert/strict');
const { sendFile } = require('@zerocopy/sendfile-stream');
const { moved } = require('./moving.cjs');

it('the kernel moves', async () => assert.equal(await moved(sendFile), 'sendfile'));
