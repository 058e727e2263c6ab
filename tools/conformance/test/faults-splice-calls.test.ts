/** splice-pipe where one call of a kind fails, and where another is not there at all: what arrives, and what is told of it. */
import '@zerocopy/conformance/faults/install';
import { closeSync } from 'node:fs';
import { attempt, describeFault } from '@zerocopy/conformance/faults/exhaustive';
import type { Fault } from '@zerocopy/conformance/faults/injection';
import { makePipe, shrinkBuffer } from '@zerocopy/conformance/traffic/kernel-objects';
import { goneForGood, lateArrival, withPair } from '@zerocopy/conformance/traffic/peers';
import { spliceTraffic } from '@zerocopy/conformance/traffic/splice';
import { pattern, type Traffic } from '@zerocopy/conformance/traffic/traffic';
import { feature, type TransferError } from '@zerocopy/core-syscalls';
import { pipePoolStats, splice } from '@zerocopy/splice-pipe';
import test, { type TestFn } from 'ava';

// Both are tried out now: a fault is to meet the traffic, not the probe, which remembers.
const { available, reason } = [feature('tee'), feature('splice')].find((one) => !one.available) ?? feature('splice');
// One at a time: faults meet every call of the thread.
const kernelTest = (available ? test.serial : test.serial.skip) as TestFn;
if (!available) test.skip(`the kernel path: ${reason}`, () => {});

const content = pattern(300_000);
const options = { pooled: (): number => 2 * pipePoolStats().idle };
const fails = (code: string, times = 1): Fault => ({ kind: 'errno', code, times });
const SHORT: Fault = { kind: 'short' };

const INTO_FILE = 'splice from a unix socket to a file';
const FROM_FILE = 'splice from a file to a unix socket, read late';
const PIPE_INTO_FILE = "splice from a pipe's descriptor to a file";
const FROM_PIPE = "splice from a pipe's stream to a unix socket, read late";
const FROM_FULL_PIPE = 'splice from a pipe that is full to a unix socket with little room';
const TEE_TO_FILE = 'tee to a socket and a file';
const TEE = 'tee to two unix sockets, one of them read late';
const STREAM = 'createSpliceWriteStream from a unix socket';

/** What the destination has no room for is taken out of the pipe by reading it. */
const fromFullPipe: Traffic = {
  name: FROM_FULL_PIPE,
  run: ({ content: whole }) =>
    withPair('unix', async (to) => {
      const expected = whole.subarray(0, 60_000);
      const { readFd, writer } = makePipe();
      writer.on('error', () => {}).end(expected);
      shrinkBuffer(to.server);
      const received = lateArrival(to.client, () => to.server.bytesWritten);
      const told = await splice(readFd, to.server).then(
        ({ bytes }) => ({ bytes }),
        (error: TransferError) => ({ error, bytes: error.bytes }),
      );
      closeSync(readFd);
      await goneForGood(writer);
      to.server.end();
      return [{ ...told, received: await received, expected }];
    }),
};

function trafficNamed(name: string, absent: readonly string[]): Traffic {
  const found = [...spliceTraffic, fromFullPipe].find((one) => one.name === name);
  if (found === undefined) throw new Error(`there is no traffic called ${name}`);
  return absent.length === 0 ? found : { ...found, background: { absent } };
}

interface Case {
  readonly traffic: string;
  /** Calls that the kernel does not have. */
  readonly absent?: readonly string[];
  readonly call: string;
  /** Which of these calls, counted from 1. */
  readonly at: readonly number[];
  readonly fault: Fault;
  /** The code of the error that is told; default: none, everything arrives. */
  readonly code?: string;
}

const WITHOUT_SPLICE = { absent: ['splice'] };

const cases: readonly Case[] = [
  // Copied into a file: written on, where a write takes a part.
  { traffic: INTO_FILE, ...WITHOUT_SPLICE, call: 'fs.write', at: [1, 2], fault: SHORT },
  { traffic: INTO_FILE, ...WITHOUT_SPLICE, call: 'fs.write', at: [1, 2], fault: fails('ENOSPC'), code: 'ENOSPC' },
  // Copied out of one.
  { traffic: FROM_FILE, ...WITHOUT_SPLICE, call: 'fs.read', at: [1, 2], fault: SHORT },
  { traffic: FROM_FILE, ...WITHOUT_SPLICE, call: 'fs.read', at: [1, 2], fault: fails('EIO'), code: 'EIO' },
  // A file never has to be waited for, whatever is said: the piece is copied.
  { traffic: FROM_FILE, call: 'splice', at: [1], fault: fails('EAGAIN') },
  { traffic: INTO_FILE, call: 'splice', at: [2], fault: fails('EAGAIN') },
  { traffic: INTO_FILE, call: 'splice', at: [2], fault: fails('EINTR') },
  { traffic: PIPE_INTO_FILE, call: 'splice', at: [1], fault: fails('EAGAIN') },
  { traffic: PIPE_INTO_FILE, call: 'splice', at: [1, 2], fault: fails('EINTR') },
  { traffic: PIPE_INTO_FILE, call: 'splice', at: [1, 2], fault: fails('ENOSYS') },
  { traffic: PIPE_INTO_FILE, call: 'splice', at: [1, 2], fault: fails('ENOSPC'), code: 'ENOSPC' },
  { traffic: FROM_PIPE, call: 'splice', at: [1, 2], fault: fails('EINTR') },
  { traffic: FROM_PIPE, call: 'splice', at: [1, 2], fault: fails('ENOSYS') },
  { traffic: FROM_PIPE, call: 'splice', at: [1, 2], fault: fails('EIO'), code: 'EIO' },
  { traffic: FROM_FULL_PIPE, call: 'read', at: [1], fault: fails('EINTR', 3) },
  { traffic: FROM_FULL_PIPE, call: 'read', at: [1], fault: fails('EAGAIN', 3) },
  { traffic: FROM_FULL_PIPE, call: 'read', at: [1], fault: fails('EIO', 3), code: 'EIO' },
  // One destination of two: it is dropped with its count, and the other has everything; or both have, by copying.
  { traffic: TEE_TO_FILE, call: 'splice', at: [2, 3, 4, 5], fault: fails('EAGAIN') },
  { traffic: TEE_TO_FILE, call: 'splice', at: [2, 3, 4, 5], fault: fails('EINTR', 2) },
  { traffic: TEE_TO_FILE, call: 'splice', at: [2, 3, 4, 5], fault: fails('ENOSYS') },
  // The source's piece is in the pipe, and cannot be had.
  { traffic: TEE, absent: ['tee'], call: 'read', at: [1], fault: fails('EIO', 3), code: 'EIO' },
  { traffic: TEE, absent: ['tee'], call: 'read', at: [1], fault: fails('EINTR', 3) },
  { traffic: TEE, absent: ['tee'], call: 'read', at: [1], fault: SHORT },
  // What cannot be duplicated, or asked for its flags, is left to Node.
  { traffic: STREAM, call: 'fcntl', at: [1, 2, 3], fault: fails('EMFILE') },
];

for (const { traffic, absent = [], call, at, fault, code } of cases) {
  const background = absent.length === 0 ? '' : `, without ${absent.join()}`;
  kernelTest(`${traffic}${background}: ${describeFault(fault)} at ${call} ${at.join()}`, async (t) => {
    for (const one of at) {
      const plan = { at: one, only: [call], fault };
      const tried = await attempt(trafficNamed(traffic, absent), content, plan, options);
      t.is(tried.complaint, undefined, `at ${one}`);
      t.is(tried.call, call, `there is a call ${one}`);
      const codes = tried.deliveries.map(({ error }) => error?.code);
      if (code === undefined) t.deepEqual([...new Set(codes)], [undefined], `at ${one}`);
      else t.true(codes.includes(code), `at ${one}: ${codes}`);
    }
  });
}

for (const code of ['EIO', 'ENOSPC']) {
  kernelTest(
    `a destination of tee that fails with ${code} is dropped with its count; the other has everything`,
    async (t) => {
      for (const at of [2, 3]) {
        const plan = { at, only: ['splice'], fault: fails(code) };
        const { complaint, deliveries } = await attempt(trafficNamed(TEE_TO_FILE, []), content, plan, options);
        t.is(complaint, undefined);
        t.deepEqual(deliveries.map(({ error }) => error?.code).toSorted(), [code, undefined]);
        t.true(deliveries.some(({ bytes }) => bytes === content.length));
      }
    },
  );
}
