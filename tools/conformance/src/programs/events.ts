/** What the requests and responses of a program tell, in the order of each: heard without a change of the program. */
import { subscribe } from 'node:diagnostics_channel';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout } from 'node:timers/promises';

const heard: string[] = [];
/** Responses that have not been closed yet. */
let open = 0;

/** Begins to listen to every request of every HTTP/1 server of this process. */
export function listenToServers(): void {
  subscribe('http.server.request.start', (message) => {
    const { request, response } = message as { request: IncomingMessage; response: ServerResponse };
    const name = `${request.method} ${request.url}`;
    open++;
    const own: Record<string, string[]> = { request: [], response: [] };
    for (const event of ['end', 'aborted', 'error', 'close']) request.on(event, () => own.request?.push(event));
    for (const event of ['pipe', 'unpipe', 'finish', 'error', 'close'])
      response.on(event, () => own.response?.push(event));
    response.on('close', () => {
      setImmediate(() => {
        open--;
        heard.push(`${name}: request ${own.request}; response ${own.response}; complete ${request.complete}`);
      });
    });
  });
}

/** Milliseconds that are waited for responses to be closed, after the last reply has come to its end. */
const PATIENCE = 2000;

/** What has been heard since this was last asked, sorted: servers of one process answer each other. */
export async function takeEvents(): Promise<readonly string[]> {
  const deadline = performance.now() + PATIENCE;
  while (open > 0 && performance.now() < deadline) await setTimeout(2);
  return heard.splice(0).sort();
}
