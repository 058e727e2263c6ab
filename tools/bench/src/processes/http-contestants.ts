/** Ways to serve the files of a directory over HTTP. Each runs alone in a process of its own. */
import diagnosticsChannel from 'node:diagnostics_channel';
import { createReadStream, existsSync, openSync, readFileSync, statSync } from 'node:fs';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pipeline } from 'node:stream';
import {
  check,
  constants,
  descriptorOf,
  syscalls,
  TRANSFER_CHANNEL,
  type TransferTrace,
} from '@zerocopy/core-syscalls';
import { createMmapReadStream } from '@zerocopy/mmap-buffer';
import { createSendfileStream, type SendFileOptions, sendFile } from '@zerocopy/sendfile-stream';
import { transferCounts } from '@zerocopy/transfer';
import type { Role } from '../race/scenario.js';

/** What a contestant says of the work it has done; the calls are set to 0 when they are read. */
export interface Account {
  method: string;
  /** System calls it made itself; 0 where they happen inside Node and cannot be seen. */
  syscalls: number;
}

export interface HttpContestant {
  readonly name: string;
  readonly description: string;
  readonly role: Role;
  readonly onlyIfNamed?: boolean;
  /** The environment of its process. */
  readonly env?: Readonly<Record<string, string>>;
  /** The npm package that does the work, where it is not Node's own or ours. */
  readonly module?: string;
  serve(directory: string, account: Account): RequestListener | Promise<RequestListener>;
}

const require = createRequire(import.meta.url);

/** Undefined: it is not installed. */
export function moduleVersion(name: string): string | undefined {
  // Not by require: many packages do not export their package.json.
  for (const folder of require.resolve.paths(name) ?? []) {
    const manifest = join(folder, name, 'package.json');
    if (existsSync(manifest)) return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version;
  }
  return undefined;
}

type Answer = (path: string, size: number, request: IncomingMessage, response: ServerResponse) => void;

/** Finds the file and its size once, and writes the head; the way only has to send the body. */
function answering(answer: Answer): (directory: string) => RequestListener {
  return (directory) => {
    const sizes = new Map<string, { path: string; size: number }>();
    return (request, response) => {
      const target = request.url as string;
      let file = sizes.get(target);
      if (file === undefined) {
        const path = join(directory, target);
        file = { path, size: statSync(path).size };
        sizes.set(target, file);
      }
      response.writeHead(200, { 'Content-Type': 'application/octet-stream', 'Content-Length': file.size });
      answer(file.path, file.size, request, response);
    };
  };
}

/** Tells by which method most bytes went, of whichever contestant runs here. Nobody subscribes, as in most programs. */
export function countMethods(account: Account): void {
  const [most] = Object.entries(transferCounts().bytes).sort(([, a], [, b]) => b - a);
  if (most !== undefined) account.method = most[0];
}

/** The same for connections, of which each is a transfer of its own; with the system calls. */
export function followTransfers(account: Account): void {
  diagnosticsChannel.subscribe(`tracing:${TRANSFER_CHANNEL}:asyncEnd`, (message) => {
    const { result } = message as TransferTrace;
    if (result === undefined) return;
    account.method = result.method;
    account.syscalls += result.syscalls;
  });
}

const ignore = (): void => {};

const node: HttpContestant = {
  name: 'node',
  description: "Node's pipeline(fs.createReadStream(path), res)",
  role: 'peer',
  serve(directory, account) {
    account.method = 'copy';
    return answering((path, _size, _request, response) => pipeline(createReadStream(path), response, ignore))(
      directory,
    );
  },
};

const serveByStream = answering((path, _size, _request, response) =>
  pipeline(createSendfileStream(path), response, ignore),
);

const zerocopy: HttpContestant = {
  name: 'zerocopy',
  description: 'pipeline(createSendfileStream(path), res)',
  role: 'ours',
  serve: serveByStream,
};

const zerocopyPipeline: HttpContestant = {
  name: 'zerocopy-pipeline',
  description: "pipeline(createSendfileStream(path), res), by @zerocopy/pipeline's pipeline",
  role: 'ours',
  async serve(directory) {
    const { pipeline: ownPipeline } = await import('@zerocopy/pipeline');
    return answering((path, _size, _request, response) => ownPipeline(createSendfileStream(path), response, ignore))(
      directory,
    );
  },
};

const fileByPipeline: HttpContestant = {
  name: 'file-by-pipeline',
  description: "pipeline(fs.createReadStream(path), res), by @zerocopy/pipeline's pipeline",
  role: 'ours',
  onlyIfNamed: true,
  async serve(directory) {
    const { pipeline: ownPipeline } = await import('@zerocopy/pipeline');
    return answering((path, _size, _request, response) => ownPipeline(createReadStream(path), response, ignore))(
      directory,
    );
  },
};

const fileByPipe: HttpContestant = {
  name: 'file-by-pipe',
  description: 'fs.createReadStream(path).pipe(res)',
  role: 'peer',
  onlyIfNamed: true,
  serve: answering((path, _size, _request, response) => createReadStream(path).pipe(response)),
};

const disabled: HttpContestant = {
  name: 'zerocopy-disabled',
  description: 'pipeline(createSendfileStream(path), res) with ZEROCOPY_DISABLE=all',
  role: 'fallback',
  env: { ZEROCOPY_DISABLE: 'all' },
  serve: serveByStream,
};

const sendFileWith = (options?: SendFileOptions): ((directory: string) => RequestListener) =>
  answering((path, _size, _request, response) => {
    sendFile(response, path, options).catch(() => response.destroy());
  });

const zerocopySendFile: HttpContestant = {
  name: 'zerocopy-sendFile',
  description: 'sendFile(res, path)',
  role: 'ours',
  serve: sendFileWith(),
};

const zerocopyUncached: HttpContestant = {
  name: 'zerocopy-uncached',
  description: 'sendFile(res, path, { keepOpen: false }): no file stays open',
  role: 'ours',
  onlyIfNamed: true,
  serve: sendFileWith({ keepOpen: false }),
};

/** How sendFile does without its choice between the two ways: for finding where they cross over. */
const zerocopyKernel: HttpContestant = {
  name: 'zerocopy-kernel',
  description: 'sendFile(res, path, { smallFileSize: 0 })',
  role: 'ours',
  onlyIfNamed: true,
  serve: sendFileWith({ smallFileSize: 0 }),
};

const zerocopyCopy: HttpContestant = {
  name: 'zerocopy-copy',
  description: 'sendFile(res, path, { smallFileSize: 256 KiB })',
  role: 'ours',
  onlyIfNamed: true,
  serve: sendFileWith({ smallFileSize: 256 * 1024 }),
};

const zerocopyMmap: HttpContestant = {
  name: 'zerocopy-mmap',
  description: 'pipeline(createMmapReadStream(path), res): mmap and write',
  role: 'ours',
  serve(directory, account) {
    account.method = 'mmap';
    return answering((path, _size, _request, response) => pipeline(createMmapReadStream(path), response, ignore))(
      directory,
    );
  },
};

const send: HttpContestant = {
  name: 'send',
  description: "send, Express's file server",
  role: 'peer',
  module: 'send',
  serve(directory, account) {
    account.method = 'copy';
    const sendModule = require('send') as typeof import('send');
    return (request, response) => {
      sendModule(request, request.url as string, { root: directory, cacheControl: false, etag: false }).pipe(response);
    };
  },
};

const sirv: HttpContestant = {
  name: 'sirv',
  description: 'sirv, which looks at the directory once',
  role: 'peer',
  module: 'sirv',
  async serve(directory, account) {
    account.method = 'copy';
    const { default: sirvModule } = await import('sirv');
    return sirvModule(directory, { dotfiles: false, etag: false });
  },
};

const fastify: HttpContestant = {
  name: 'fastify',
  description: '@fastify/static',
  role: 'peer',
  module: '@fastify/static',
  async serve(directory, account) {
    account.method = 'copy';
    const [{ default: createFastify }, { default: plugin }] = await Promise.all([
      import('fastify'),
      import('@fastify/static'),
    ]);
    const app = createFastify();
    await app.register(plugin, { root: directory, serve: false, cacheControl: false, etag: false });
    // Its types do not know highWaterMark, which goes to @fastify/send; without it files are read 16 KiB at a time.
    const options = { highWaterMark: 64 * 1024 } as object;
    app.get('/*', (request, reply) => reply.sendFile(request.url.slice(1), options));
    await app.ready();
    return (request, response) => app.routing(request, response);
  },
};

/** The ceiling of anything that answers by node:http: no file at all. */
const memory: HttpContestant = {
  name: 'memory',
  description: 'res.end(buffer), the same bytes held in memory',
  role: 'reference',
  onlyIfNamed: true,
  serve(directory, account) {
    account.method = 'memory';
    const files = new Map<string, Buffer>();
    return answering((path, _size, _request, response) => {
      let bytes = files.get(path);
      if (bytes === undefined) {
        bytes = readFileSync(path);
        files.set(path, bytes);
      }
      response.end(bytes);
    })(directory);
  },
};

/** Takes a request and never answers: what a connection costs by itself. */
const silent: HttpContestant = {
  name: 'silent',
  description: 'no answer at all: the connection alone',
  role: 'reference',
  onlyIfNamed: true,
  serve: () => (request) => {
    request.resume();
  },
};

/** The floor: sendfile(2) through koffi with nothing around it. Not a way to serve files: no errors, no order, no timeouts. */
const floor: HttpContestant = {
  name: 'floor',
  description: 'a bare koffi sendfile loop',
  role: 'reference',
  serve(directory, account) {
    account.method = 'sendfile';
    const carry = Buffer.allocUnsafeSlow(16 * 1024);
    const files = new Map<string, number>();
    const sendFrom = (response: ServerResponse, file: number, size: number, from: number): void => {
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
          response.socket?.write(carry.subarray(0, read), () => sendFrom(response, file, size, position + read));
          return;
        }
        if (sent <= 0) return;
        position += sent;
      }
      setImmediate(sendFrom, response, file, size, position);
    };
    return answering((path, size, _request, response) => {
      let file = files.get(path);
      if (file === undefined) {
        file = openSync(path, 'r');
        files.set(path, file);
      }
      const opened = file;
      response.flushHeaders();
      const start = (): void => {
        response.socket?.write('', () => sendFrom(response, opened, size, 0));
      };
      // The client may ask again before the last response has finished; then this one waits for the socket.
      if (response.socket === null) response.once('socket', start);
      else start();
    })(directory);
  },
};

export const httpContestants: readonly HttpContestant[] = [
  zerocopy,
  zerocopySendFile,
  zerocopyMmap,
  zerocopyUncached,
  zerocopyPipeline,
  fileByPipeline,
  fileByPipe,
  zerocopyKernel,
  zerocopyCopy,
  disabled,
  node,
  send,
  sirv,
  fastify,
  memory,
  silent,
  floor,
];

export function httpContestant(name: string): HttpContestant {
  const found = httpContestants.find((contestant) => contestant.name === name);
  if (found === undefined) {
    throw new RangeError(`no contestant '${name}'; there are ${httpContestants.map((c) => c.name).join(', ')}`);
  }
  return found;
}
