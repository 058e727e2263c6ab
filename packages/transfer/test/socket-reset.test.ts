/** A connection that ends early is reset; and whatever way is left to ask for that, its handle is closed in the end. */
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { libcStatus } from '@zerocopy/core-syscalls';
import { testsWhere } from '@zerocopy/testing/kernel-tests';
import { type Kind, withPair } from '@zerocopy/testing/sockets';
import { closeByReset } from '@zerocopy/transfer';
import test from 'ava';

const { test: kernelTest } = testsWhere('system calls', libcStatus());

/** As where there are no system calls, or no number of a descriptor. */
function hideDescriptor(socket: Socket): void {
  Object.defineProperty((socket as unknown as { _handle: object })._handle, 'fd', { value: -1 });
}

/** How `left` ends for its peer: the code of its error, or 'end'. */
const seenByPeer = (kind: Kind, leave: (left: Socket) => void): Promise<unknown> =>
  withPair(kind, async ({ server: near, client: far }) => {
    const seen = new Promise((resolve) => {
      far.once('error', (error: NodeJS.ErrnoException) => resolve(error.code)).once('end', () => resolve('end'));
    });
    far.resume();
    const closed = once(near, 'close');
    leave(near);
    await closed;
    return seen;
  });

kernelTest('the kernel is asked: whoever closes it resets it, ended or not', async (t) => {
  for (const end of [false, true]) {
    const seen = await seenByPeer('tcp', (socket) => {
      closeByReset(socket);
      t.false(socket.destroyed, 'it is closed by somebody else');
      if (end) socket.end();
      socket.destroy();
    });
    t.is(seen, 'ECONNRESET');
  }
});

test('without a descriptor Node resets it', async (t) => {
  const seen = await seenByPeer('tcp', (socket) => {
    hideDescriptor(socket);
    closeByReset(socket);
    socket.destroy();
  });
  t.is(seen, 'ECONNRESET');
});

test('without a descriptor, one that is being ended is closed all the same', async (t) => {
  const seen = await seenByPeer('tcp', (socket) => {
    hideDescriptor(socket);
    socket.end();
    closeByReset(socket);
    socket.destroy(); // no 'close' would come of a handle whose reset libuv has refused
  });
  t.is(seen, 'end');
});

test('a unix socket has no reset', async (t) => {
  const seen = await seenByPeer('unix', (socket) => {
    hideDescriptor(socket);
    closeByReset(socket);
    socket.destroy();
  });
  t.is(seen, 'end');
});
