/** Ways to serve one file over HTTP. Each runs alone in a process of its own. */
import diagnosticsChannel from 'node:diagnostics_channel';
import { createReadStream, openSync, readFileSync } from 'node:fs';
import type { RequestListener, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream';
import {
  check,
  constants,
  descriptorOf,
  syscalls,
  TRANSFER_CHANNEL,
  type TransferTrace,
} from '@zerocopy/core-syscalls';
import { createSendfileStream, sendFile } from '@zerocopy/sendfile-stream';

/** The request target of the file. */
export const FILE_TARGET = '/file';
/** A request target that every contestant answers with a small file. */
export const WARM_UP_TARGET = '/warm-up';

/** What a contestant says of the work it has done; reset when it is read. */
export interface Account {
  method: string;
  /** System calls it made itself; 0 where they happen inside Node and cannot be seen. */
  syscalls: number;
}

export interface Contestant {
  readonly name: string;
  readonly description: string;
  handler(path: string, size: number, account: Account): RequestListener;
}

const headers = (size: number): Record<string, string | number> => ({
  'Content-Type': 'application/octet-stream',
  'Content-Length': size,
});

const nodePipeline: Contestant = {
  name: 'node',
  description: "Node's pipeline(fs.createReadStream(path), res)",
  handler: (path, size, account) => (_request, response) => {
    account.method = 'copy';
    response.writeHead(200, headers(size));
    pipeline(createReadStream(path), response, () => {});
  },
};

const zerocopyPipeline: Contestant = {
  name: 'zerocopy',
  description: 'pipeline(createSendfileStream(path), res)',
  handler: (path, size) => (_request, response) => {
    response.writeHead(200, headers(size));
    pipeline(createSendfileStream(path), response, () => {});
  },
};

/** The streams tell of their transfers on a diagnostics channel; this counts them for whichever contestant runs here. */
export function followTransfers(account: Account): void {
  diagnosticsChannel.subscribe(`tracing:${TRANSFER_CHANNEL}:asyncEnd`, (message) => {
    const { result } = message as TransferTrace;
    if (result === undefined) return;
    account.method = result.method;
    account.syscalls += result.syscalls;
  });
}

const zerocopySendFile: Contestant = {
  name: 'zerocopy-sendFile',
  description: 'sendFile(res, path)',
  handler: (path, size) => (_request, response) => {
    response.writeHead(200, headers(size));
    sendFile(response, path).catch(() => response.destroy());
  },
};

/** How sendFile does without its choice between the two ways: for finding where they cross over. */
const zerocopyKernel: Contestant = {
  name: 'zerocopy-kernel',
  description: 'sendFile(res, path, { smallFileSize: 0 })',
  handler: (path) => (_request, response) => {
    sendFile(response, path, { smallFileSize: 0 }).catch(() => response.destroy());
  },
};

const zerocopyCopy: Contestant = {
  name: 'zerocopy-copy',
  description: 'sendFile(res, path, { smallFileSize: 256 KiB })',
  handler: (path) => (_request, response) => {
    sendFile(response, path, { smallFileSize: 256 * 1024 }).catch(() => response.destroy());
  },
};

/** The ceiling of anything that answers by node:http: no file at all. */
const memory: Contestant = {
  name: 'memory',
  description: 'res.end(buffer), the same bytes held in memory',
  handler: (path, size, account) => {
    const bytes = readFileSync(path);
    return (_request, response) => {
      account.method = 'memory';
      response.writeHead(200, headers(size));
      response.end(bytes);
    };
  },
};

/** Takes a request and never answers: what a connection costs by itself. */
const silent: Contestant = {
  name: 'silent',
  description: 'no answer at all, for comparing memory',
  handler: () => (request) => {
    request.resume();
  },
};

/** The floor: sendfile(2) through koffi with nothing around it. Not a way to serve files: no errors, no order, no timeouts. */
const floor: Contestant = {
  name: 'floor',
  description: 'a bare koffi sendfile loop',
  handler: (path, size, account) => {
    const file = openSync(path, 'r');
    const carry = Buffer.allocUnsafeSlow(16 * 1024);
    const send = (response: ServerResponse, from: number): void => {
      let position = from;
      for (let calls = 0; calls < 8; calls++) {
        if (position >= size) {
          response.end();
          return;
        }
        const fd = descriptorOf(response);
        if (fd === null) return;
        account.syscalls++;
        const sent = syscalls.sendfile(fd, file, position, Math.min(size - position, 1024 * 1024));
        if (sent === -constants.EAGAIN) {
          const read = check(syscalls.pread(file, carry, Math.min(carry.length, size - position), position), 'pread');
          account.syscalls++;
          response.socket?.write(carry.subarray(0, read), () => send(response, position + read));
          return;
        }
        if (sent <= 0) return;
        position += sent;
      }
      setImmediate(send, response, position);
    };
    return (_request, response) => {
      account.method = 'sendfile';
      response.writeHead(200, headers(size));
      response.flushHeaders();
      const start = (): void => {
        response.socket?.write('', () => send(response, 0));
      };
      // The client may ask again before the last response has finished; then this one waits for the socket.
      if (response.socket === null) response.once('socket', start);
      else start();
    };
  },
};

export const contestants: readonly Contestant[] = [
  nodePipeline,
  zerocopyPipeline,
  zerocopySendFile,
  zerocopyKernel,
  zerocopyCopy,
  memory,
  silent,
  floor,
];

export function contestantNamed(name: string): Contestant {
  const found = contestants.find((contestant) => contestant.name === name);
  if (found === undefined) {
    throw new RangeError(`no contestant '${name}'; there are ${contestants.map((c) => c.name).join(', ')}`);
  }
  return found;
}
