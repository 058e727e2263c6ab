/** Where programs run: a directory with files, and servers that hand out connected sockets. One for a process. */
import { once } from 'node:events';
import { closeSync, ftruncateSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import http, { type Server as HttpServer, type RequestListener } from 'node:http';
import net, { type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type MappedFile, mapFile } from '@zerocopy/mmap-buffer';
import { content } from './bytes.js';

export type Transport = 'tcp' | 'unix';

export interface SocketOptions {
  readonly allowHalfOpen?: boolean | undefined;
}

export interface Pair {
  /** Accepted. */
  readonly server: Socket;
  readonly client: Socket;
}

/** A regular file: all of it recognisable bytes, or these only at its beginning and end, with a hole between them. */
export interface FileSpec {
  readonly size: number;
  readonly sparse?: boolean | undefined;
}

/** Bytes at either end of a sparse file. */
const EDGE = 5000;

export class Workspace {
  readonly directory: string;
  readonly #files = new Map<string, string>();
  readonly #servers: Record<string, Server> = {};
  #http: HttpServer | undefined;
  #held: MappedFile | undefined;
  #listener: RequestListener = () => {};
  #accept: ((socket: Socket) => void) | undefined;
  #scratch = 0;

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async open(): Promise<Workspace> {
    const directory = mkdtempSync(join(tmpdir(), 'zerocopy-differential-'));
    process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
    const workspace = new Workspace(directory);
    for (const transport of ['tcp', 'unix']) {
      for (const allowHalfOpen of [false, true]) {
        const server = net.createServer({ allowHalfOpen }, (socket) => workspace.#accept?.(socket));
        if (transport === 'tcp') server.listen(0, '127.0.0.1');
        else server.listen(join(directory, `s${Number(allowHalfOpen)}`));
        await once(server, 'listening');
        server.unref();
        workspace.#servers[`${transport} ${allowHalfOpen}`] = server;
      }
    }
    // The thread that serves leases stays for as long as there is one: that it starts and ends is no program's doing.
    workspace.#held = await mapFile(workspace.file({ size: 4096 }));
    workspace.#http = http.createServer((request, response) => workspace.#listener(request, response));
    workspace.#http.listen(0, '127.0.0.1');
    await once(workspace.#http, 'listening');
    workspace.#http.unref();
    return workspace;
  }

  async close(): Promise<void> {
    await this.#held?.close();
    for (const server of Object.values(this.#servers)) server.close();
    this.#http?.closeAllConnections();
    this.#http?.close();
    rmSync(this.directory, { recursive: true, force: true });
  }

  async pair(transport: Transport, server: SocketOptions = {}, client: SocketOptions = {}): Promise<Pair> {
    const listener = this.#servers[`${transport} ${server.allowHalfOpen ?? false}`] as Server;
    const address = listener.address() as AddressInfo | string;
    const accepted = new Promise<Socket>((resolve) => {
      this.#accept = resolve;
    });
    const to = typeof address === 'string' ? { path: address } : { port: address.port, host: '127.0.0.1' };
    const connecting = net.connect({ ...to, allowHalfOpen: client.allowHalfOpen ?? false });
    const [socket] = await Promise.all([accepted, once(connecting, 'connect')]);
    return { server: socket, client: connecting };
  }

  /** The port of an HTTP server that `listener` answers for, until the next call. */
  serve(listener: RequestListener): { port: number; server: HttpServer } {
    this.#listener = listener;
    const server = this.#http as HttpServer;
    return { port: (server.address() as AddressInfo).port, server };
  }

  /** A file to read, which nobody changes. */
  file(spec: FileSpec): string {
    const key = `f${spec.size}${spec.sparse === true ? 's' : ''}`;
    let path = this.#files.get(key);
    if (path === undefined) {
      path = join(this.directory, key);
      writeFile(path, spec);
      this.#files.set(key, path);
    }
    return path;
  }

  /** A file of one's own. */
  copyOf(spec: FileSpec): string {
    const path = this.scratch();
    writeFile(path, spec);
    return path;
  }

  /** A path at which nothing is. */
  scratch(): string {
    return join(this.directory, `x${this.#scratch++}`);
  }

  scratchDirectory(): string {
    const path = this.scratch();
    mkdirSync(path);
    return path;
  }
}

export function writeFile(path: string, spec: FileSpec): void {
  const fd = openSync(path, 'w');
  if (spec.sparse !== true || spec.size <= 2 * EDGE) writeSync(fd, content(0, spec.size));
  else {
    ftruncateSync(fd, spec.size);
    writeSync(fd, content(0, EDGE), 0, EDGE, 0);
    writeSync(fd, content(spec.size - EDGE, EDGE), 0, EDGE, spec.size - EDGE);
  }
  closeSync(fd);
}

/** What such a file holds. */
export function contentOf({ size, sparse }: FileSpec, start = 0, end: number = size): Buffer {
  const last = Math.min(size, end);
  const length = Math.max(0, last - start);
  if (sparse !== true || size <= 2 * EDGE) return content(start, length);
  const all = Buffer.alloc(size);
  content(0, EDGE).copy(all);
  content(size - EDGE, EDGE).copy(all, size - EDGE);
  return all.subarray(start, start + length);
}
