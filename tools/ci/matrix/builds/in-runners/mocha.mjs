/* global it */
import assert from 'node:assert/strict';
import { sendFile } from '@zerocopy/sendfile-stream';
import './imported.mjs';
import moving from './moving.cjs';

it('the kernel moves', async () => assert.equal(await moving.moved(sendFile), 'sendfile'));
