/** Everything the packages do, as services; each ends in one of the ways it may, or says what is wrong. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { open, rm, stat } from 'node:fs/promises';
import http, { type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import net, { type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { copyFile } from '@zerocopy/file-copy';
import { acquireLease } from '@zerocopy/lease-guard';
import { createMmapReadStream, mapFile, SharedBufferPool } from '@zerocopy/mmap-buffer';
import { createSendfileStream, sendFile } from '@zerocopy/sendfile-stream';
import { createSpliceReadStream, createSpliceWriteStream, proxy, splice, tee } from '@zerocopy/splice-pipe';
import { contentOf, FILES } from './content.js';
import type { Counts, Ports, ServerOptions } from './protocol.js';
import type { Dice } from './random.js';

/** How an aborted or abandoned transfer may end. Anything else is told as wrong. */
const ENDS = new Set([
  'ABORT_ERR',
  'ECONNRESET',
  'EPIPE',
  'ERR_IDLE_TIMEOUT',
  'ERR_STREAM_DESTROYED',
  'ERR_STREAM_PREMATURE_CLOSE',
  'ERR_STREAM_UNABLE_TO_PIPE',
]);

/** A connection on which nothing moves for so long is ended. */
const PATIENCE_MS = 4000;
/** What a server that aborts by itself waits before, at most. */
const ABORT_MS = 30;
export const LASTING_HEADER = 8;

export interface Services {
  readonly ports: Ports;
  /** Whose listeners are to stay what they are. */
  readonly lasting: readonly NodeJS.EventEmitter[];
  readonly counts: Counts;
  /** Connections, and whatever a service is still doing after its connection has gone; by name, once for each. */
  active(): readonly string[];
}

type Route = (url: URL, request: IncomingMessage, response: ServerResponse) => Promise<unknown>;

export async function startServices(
  { seed, directory, echo }: ServerOptions,
  dice: Dice,
  wrong: (what: string) => void,
): Promise<Services> {
  const counts: Counts = {};
  const contents = new Map(Object.keys(FILES).map((name) => [name, contentOf(name, seed)]));
  const pool = new SharedBufferPool({ bufferSize: 256 * 1024, count: 4 });
  // Held all the time, so that the thread that answers breaks is always there.
  const lease = await acquireLease(join(directory, 'small'), 'read');
  const lasting: NodeJS.EventEmitter[] = [process, lease];
  const active = new Set<{ readonly what: string }>();
  let files = 0;
  const newFile = (): string => join(directory, `made-${++files}`);
  const pathOf = (name: string): string => join(directory, name);

  const count = (what: string): void => {
    counts[what] = (counts[what] ?? 0) + 1;
  };

  /** One use of a package: counted, and looked at if it fails. */
  async function use<T>(what: string, doing: Promise<T>, describe?: () => string): Promise<T | undefined> {
    const current = {
      get what() {
        return describe === undefined ? what : `${what} (${describe()})`;
      },
    };
    active.add(current);
    try {
      const result = await doing;
      count(what);
      return result;
    } catch (error) {
      const { code = 'no code', message, stack } = error as NodeJS.ErrnoException;
      count(`${what}: ${code}`);
      if (!ENDS.has(code)) wrong(`${what}: ${code}: ${message}\n${stack}`);
      return undefined;
    } finally {
      active.delete(current);
    }
  }

  /** At random: a signal that comes while it is under way. */
  const aborting = (url: URL): { signal?: AbortSignal } =>
    url.searchParams.has('signal') ? { signal: AbortSignal.timeout(dice.between(0, ABORT_MS)) } : {};

  const rangeOf = (url: URL): { start: number; end: number } => ({
    start: Number(url.searchParams.get('start')),
    end: Number(url.searchParams.get('end')),
  });

  const routes: Readonly<Record<string, Route>> = {
    async stream(url, _request, response) {
      const source = createSendfileStream(pathOf(url.searchParams.get('file') as string), {
        ...rangeOf(url),
        ...aborting(url),
      });
      if (url.searchParams.has('destroy')) setTimeout(() => source.destroy(), dice.between(0, ABORT_MS));
      await use('createSendfileStream', pipeline(source, response));
    },
    async send(url, _request, response) {
      const lease = url.searchParams.has('lease');
      const path = pathOf(url.searchParams.get('file') as string);
      if (url.searchParams.has('destroy')) setTimeout(() => response.destroy(), dice.between(0, ABORT_MS));
      await use('sendFile', sendFile(response, path, { ...rangeOf(url), ...aborting(url), lease }));
    },
    async mmap(url, _request, response) {
      const source = createMmapReadStream(pathOf(url.searchParams.get('file') as string), rangeOf(url));
      if (url.searchParams.has('destroy')) setTimeout(() => source.destroy(), dice.between(0, ABORT_MS));
      await use('createMmapReadStream', pipeline(source, response));
    },
    async copy(url, request, response) {
      const path = newFile();
      request.socket.setTimeout(0); // nothing moves on it while the disk is busy
      const copied = await use(
        'copyFile',
        copyFile(pathOf(url.searchParams.get('file') as string), path, { reflink: 'never', ...aborting(url) }),
      );
      request.socket.setTimeout(PATIENCE_MS);
      if (copied === undefined) response.destroy();
      else await use('sendFile, of a copy', sendFile(response, path, rangeOf(url)));
      await rm(path, { force: true });
    },
    /** A mapping's hash; now and then it is forgotten instead of closed. */
    async map(url, request, response) {
      request.socket.setTimeout(0);
      await use(
        'mapFile',
        (async () => {
          const mapped = await mapFile(pathOf(url.searchParams.get('file') as string));
          const sha256 = createHash('sha256').update(mapped.buffer).digest('hex');
          if (dice.chance(0.8)) await mapped.close();
          response.end(sha256);
        })(),
      );
    },
    /** A lease that is broken by a writer. */
    async lease(url, request, response) {
      request.socket.setTimeout(0);
      const path = newFile();
      await use(
        'acquireLease',
        (async () => {
          await copyFile(pathOf(url.searchParams.get('file') as string), path);
          const lease = await acquireLease(path, 'read');
          const writer = await open(path, 'r+'); // nobody listens: it is released by itself
          await writer.close();
          await lease.release();
          response.end(await sha256Of(path));
        })(),
      );
      await rm(path, { force: true });
    },
    async pool(url, _request, response) {
      const shared = pool.acquire();
      const content = contents.get(url.searchParams.get('file') as string) as Buffer;
      if (shared === undefined) {
        response.end(sha256(content)); // all in use
        return;
      }
      content.copy(shared.buffer);
      const length = Math.min(content.length, shared.buffer.length);
      const opened = pool.open(shared.share());
      shared.release();
      count('SharedBufferPool');
      if (!opened.buffer.subarray(0, length).equals(content.subarray(0, length))) wrong('a shared buffer differs');
      opened.release();
      response.end(sha256(content));
    },
    async upload(url, request, response) {
      const path = newFile();
      const destination = createSpliceWriteStream(path);
      // Not request.destroy(): of a whole body that nobody has read yet, Node's own pipeline never ends then.
      const doomed = dice.oneOf([request.socket, destination]);
      if (url.searchParams.has('destroy')) setTimeout(() => doomed.destroy(), dice.between(0, ABORT_MS));
      await use(
        'createSpliceWriteStream',
        (async () => {
          await pipeline(request, destination);
          request.socket.setTimeout(0);
          response.end(await sha256Of(path));
        })(),
        () => stateOf(request, destination),
      );
      if (!response.writableEnded) response.destroy();
      await rm(path, { force: true });
    },
  };

  async function listen(server: net.Server, lasts = false): Promise<number> {
    server.on('connection', (socket: Socket) => {
      const connection = { what: `connection of port ${socket.localPort}` };
      if (!lasts) active.add(connection);
      socket.once('close', () => active.delete(connection));
      // What goes wrong is told by what is being done with it.
      socket.on('error', () => {});
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    lasting.push(server);
    return (server.address() as AddressInfo).port;
  }

  const web: Server = http.createServer((request, response) => {
    const url = new URL(request.url as string, 'http://host');
    const route = routes[url.pathname.slice(1)] as Route;
    request.socket.setTimeout(PATIENCE_MS); // kept alive, it may be another's
    if (url.searchParams.has('chunked')) response.setHeader('Transfer-Encoding', 'chunked');
    route(url, request, response).then(
      () => {
        if (!response.writableEnded) response.destroy();
      },
      (error: Error) => wrong(`${url.pathname}: ${error.stack}`),
    );
  });
  web.keepAliveTimeout = 0;
  web.setTimeout(PATIENCE_MS);
  web.on('clientError', (_error, socket) => socket.destroy());

  const connected = (serve: (socket: Socket) => Promise<unknown>, lasts = false): Promise<number> =>
    listen(
      net.createServer({ allowHalfOpen: true }, (socket) => {
        if (!lasts) socket.setTimeout(PATIENCE_MS, () => socket.destroy());
        serve(socket).catch((error: Error) => wrong(error.stack ?? String(error)));
      }),
      lasts,
    );

  const upstream = (): Socket => {
    const socket = net.connect({ port: echo, host: '127.0.0.1', allowHalfOpen: true });
    socket.on('error', () => {});
    return socket;
  };

  const maybeAborted = (aborts: boolean): { signal?: AbortSignal } =>
    aborts ? { signal: AbortSignal.timeout(dice.between(1, ABORT_MS)) } : {};

  const proxied =
    (aborts: boolean) =>
    (client: Socket): Promise<unknown> => {
      client.setTimeout(0); // the proxy's own
      return use('proxy', proxy(client, upstream(), { idleTimeout: PATIENCE_MS, ...maybeAborted(aborts) }));
    };

  /** Two streams in two pipelines, one of them by `splice` now and then. */
  async function relayed(client: Socket): Promise<void> {
    const up = upstream();
    await once(up, 'connect');
    const forth = dice.chance(0.5)
      ? use('createSpliceReadStream', pipeline(createSpliceReadStream(client), up))
      : use('splice', splice(client, up)).then((moved) => (moved === undefined ? up.destroy() : up.end()));
    await Promise.all([forth, use('createSpliceReadStream', pipeline(createSpliceReadStream(up), client))]);
    up.destroy();
    client.destroy();
  }

  /** To the upstream, whose echo goes back, and to a file, which has to be a beginning of the content. */
  const teed =
    (aborts: boolean) =>
    async (client: Socket): Promise<void> => {
      const path = newFile();
      const up = upstream();
      await once(up, 'connect');
      const file = await open(path, 'w');
      const back = use('echo', pipeline(up, client));
      const result = await use('tee', tee(client, [up, file], maybeAborted(aborts)));
      await file.close();
      if (result === undefined) up.destroy();
      else up.end();
      await back;
      up.destroy();
      client.destroy();
      const { size } = await stat(path);
      const content = contents.get('large') as Buffer;
      if ((await sha256Of(path)) !== sha256(content.subarray(0, size))) wrong('the file of a tee differs');
      await rm(path, { force: true });
    };

  const ports: Ports = {
    http: await listen(web),
    raw: await connected(async (socket) => {
      socket.resume();
      socket.write('header');
      const sent = await use('sendFile, socket', sendFile(socket, pathOf('large')));
      if (sent === undefined) socket.destroy();
      else socket.end('trailer');
    }),
    lasting: await connected(async (socket) => {
      lasting.push(socket);
      socket.once('close', () => lasting.splice(lasting.indexOf(socket), 1));
      const requests = async (): Promise<void> => {
        for await (const chunk of socket) {
          for (const letter of String(chunk)) {
            const name = Object.keys(FILES).find((file) => file.startsWith(letter)) as string;
            const header = Buffer.alloc(LASTING_HEADER);
            header.writeUInt32BE(FILES[name] as number);
            socket.write(header);
            if ((await use('sendFile, lasting socket', sendFile(socket, pathOf(name)))) === undefined) return;
          }
        }
      };
      await requests().catch(() => socket.destroy()); // its client has vanished
    }, true),
    proxy: await connected(proxied(false)),
    proxyAborting: await connected(proxied(true)),
    relay: await connected(relayed),
    tee: await connected(teed(false)),
    teeAborting: await connected(teed(true)),
  };
  return { ports, lasting, counts, active: () => [...active].map(({ what }) => what) };
}

/** Of an upload that does not end. */
function stateOf(request: IncomingMessage, destination: ReturnType<typeof createSpliceWriteStream>): string {
  const { method, fallbackReason, bytesWritten } = destination;
  const states = Object.entries({ request, socket: request.socket, destination }).map(
    ([name, { destroyed, closed, errored }]) =>
      `${name}: ${destroyed ? 'destroyed' : 'open'}${closed ? ', closed' : ''} ${errored?.message ?? ''}`,
  );
  const length = request.headers['content-length'];
  return `${bytesWritten} of ${length} bytes, ${request.complete ? 'complete' : 'incomplete'}, ${request.url}, flowing ${request.readableFlowing}, ${method} ${fallbackReason}; ${states.join('; ')}`;
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** By Node's own stream. */
async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}
