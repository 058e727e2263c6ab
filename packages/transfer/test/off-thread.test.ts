/** Calls on the thread pool: those that may wait for a server never hold every thread. */
import { type OffThreadCall, runOffThread } from '@zerocopy/transfer';
import test from 'ava';

/** libuv's, and one less for all calls together. */
const THREADS = Number.parseInt(process.env.UV_THREADPOOL_SIZE ?? '4', 10);

test.serial('servers that never answer leave a thread to the disks', async (t) => {
  const never: ((result: number) => void)[] = [];
  const hang: OffThreadCall = (done) => never.push(done);
  let ended = 0;
  for (let n = 0; n < 10; n++) runOffThread(hang, () => ended++, 'server');
  t.is(never.length, Math.max(1, THREADS - 2));
  for (let n = 0; n < 10; n++) {
    t.is(await new Promise((resolve) => runOffThread((done) => setImmediate(done, n), resolve)), n);
  }
  while (never.length > 0) never.shift()?.(0);
  t.is(ended, 10, 'those that waited were started, and ended');
});

test.serial('disks and servers take turns when threads are rare', (t) => {
  const open: ((result: number) => void)[] = [];
  const order: string[] = [];
  const call =
    (name: string): OffThreadCall =>
    (done) => {
      order.push(name);
      open.push(done);
    };
  for (let n = 0; n < THREADS - 1; n++) runOffThread(call('first'), () => {});
  for (let n = 0; n < 3; n++) {
    runOffThread(call('disk'), () => {});
    runOffThread(call('server'), () => {}, 'server');
  }
  while (open.length > 0) open.shift()?.(0);
  t.deepEqual(order.slice(THREADS - 1), ['disk', 'server', 'disk', 'server', 'disk', 'server']);
});
