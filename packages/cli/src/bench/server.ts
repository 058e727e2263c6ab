/** A server of the race, in a process of its own. Each answers GET /NAME by the file of that name. */
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import http, { type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Own, Told } from './contestants.js';

type Handler = (path: string, response: ServerResponse) => Promise<string>;

/** The file is looked at for its length, as every server has to. */
async function begin(path: string, response: ServerResponse): Promise<void> {
  const { size } = await stat(path);
  response.setHeader('Content-Length', size);
}

const handlers: Readonly<Record<Exclude<Own, 'serveFiles'>, () => Promise<Handler>>> = {
  createReadStream: async () => async (path, response) => {
    await begin(path, response);
    await pipeline(createReadStream(path), response);
    return 'copy';
  },
  async createSendfileStream() {
    const { createSendfileStream } = await import('@zerocopy/sendfile-stream');
    return async (path, response) => {
      await begin(path, response);
      const stream = createSendfileStream(path);
      await pipeline(stream, response);
      return stream.method ?? 'unknown';
    };
  },
  async sendFile() {
    const { sendFile } = await import('@zerocopy/sendfile-stream');
    return async (path, response) => {
      await begin(path, response);
      return (await sendFile(response, path)).method;
    };
  },
};

async function listenerOf(name: Own, directory: string, sent: (method: string) => void): Promise<RequestListener> {
  if (name === 'serveFiles') {
    const { serveFiles } = await import('@zerocopy/serve-files');
    return serveFiles(directory, { onSent: ({ transfer }) => sent(transfer ?? 'unknown') }) as RequestListener;
  }
  const handle = await handlers[name]();
  return (request, response) => {
    handle(join(directory, request.url ?? ''), response).then(sent, (error: Error) => response.destroy(error));
  };
}

/** Serves until the race is over, or its process is gone. @param role 'NAME:DIRECTORY'. */
export async function serve(role: string): Promise<number> {
  const colon = role.indexOf(':');
  let last = 'unknown';
  const listener = await listenerOf(role.slice(0, colon) as Own, role.slice(colon + 1), (method) => {
    last = method;
  });
  const server = http.createServer(listener).listen(0, '127.0.0.1');
  server.keepAliveTimeout = 0; // others may take longer than 5 seconds before it is this one's turn again
  await once(server, 'listening');
  const tell = (told: Told): unknown => process.send?.(told);
  process.on('message', () => tell({ method: last }));
  tell({ port: (server.address() as AddressInfo).port });
  await once(process, 'disconnect');
  process.exit(0);
}
