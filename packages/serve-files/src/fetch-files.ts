/** For servers whose handlers take a Request and answer a Response. */
import { countTransfer, isObserved, setTimeout, TransferScope, transferError } from '@zerocopy/transfer';
import type { ServeFilesOptions } from './options.js';
import { type FilePart, isFilePart, type Plan, type Question, type Site } from './plan.js';
import { questionOfRequest } from './plan-request.js';
import { rawPathOf } from './request-target.js';
import { sentInfo } from './send-plan.js';
import { decide } from './serve-files.js';
import { createSite } from './site.js';

/** Without `next` it answers everything. */
export type FetchHandler = (request: Request, next?: () => Response | Promise<Response>) => Promise<Response>;

const CHUNK_SIZE = 64 * 1024;

/**
 * A handler of fetch's kind. The body is a stream: there is no socket for the kernel to send to. Where a server also has
 * Node's request and response, serveFiles is faster.
 */
export function fetchFiles(root: string | URL, options: ServeFilesOptions = {}): FetchHandler {
  const site = createSite(root, options);
  return async (request, next) => {
    const startedAt = performance.now();
    const question = questionOfRequest(request);
    const { pathname, search } = new URL(question.target);
    const target = `${pathname}${search}`;
    const { method, field } = question;
    const plan = await decide({ method, field, target, originalTarget: target }, site, next !== undefined);
    return plan === undefined ? (next as () => Promise<Response>)() : fetchResponse(plan, site, question, startedAt);
  };
}

/** The plan as a Response. Its files are closed when the body has been read or cancelled. */
export function fetchResponse(plan: Plan, site: Site, question: Question, startedAt: number): Response {
  const headers = new Headers();
  for (const [name, value] of Object.entries(plan.headers)) {
    for (const one of typeof value === 'string' ? [value] : value) headers.append(name, one);
  }
  const over = (bytes: number, error: Error | undefined): void => {
    plan.release();
    const delivery = { bytes, transfer: bytes > 0 && plan.parts.some(isFilePart) ? 'copy' : undefined, error };
    site.settings.onSent?.(sentInfo(plan, delivery, question.method, rawPathOf(question.target), startedAt));
  };
  const body = plan.parts.length === 0 ? null : bodyOf(plan, over);
  if (body === null) over(0, undefined);
  return new Response(body, { status: plan.status, headers });
}

const COPIED = 'the body is a stream: there is no socket to send to';

function bodyOf(plan: Plan, tell: (bytes: number, error: Error | undefined) => void): ReadableStream<Uint8Array> {
  const chunks = chunksOf(plan);
  let bytes = 0;
  // A body without a file in it is no transfer. The context is that of whoever has asked for it.
  const told = plan.parts.some(isFilePart) ? toldOf(plan) : undefined;
  const over = (moved: number, error: Error | undefined): void => {
    told?.(moved, error);
    tell(moved, error);
  };
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const next = await chunks.next();
          if (next.done === true) {
            over(bytes, undefined);
            controller.close();
            return;
          }
          bytes += next.value.length;
          controller.enqueue(next.value);
        } catch (error) {
          over(bytes, error as Error);
          throw error;
        }
      },
      async cancel(reason) {
        await chunks.return(undefined); // once a read that is under way has ended
        over(bytes, reason instanceof Error ? reason : new Error('the body was cancelled'));
      },
    },
    { highWaterMark: 0 },
  );
}

/** Published as every transfer is, from now on. @returns what tells its end. */
function toldOf({ parts, path }: Plan): (bytes: number, error: Error | undefined) => void {
  const length = parts.reduce((sum, { length: more }) => sum + more, 0);
  const scope = isObserved()
    ? new TransferScope({ length, source: 'file', destination: 'stream', detail: { source: path } })
    : undefined;
  const startedAt = performance.now();
  scope?.start();
  return (bytes, error) => {
    const durationMs = performance.now() - startedAt;
    const result = { bytes, method: 'copy', fallbackReason: COPIED, syscalls: 0, durationMs } as const;
    if (scope === undefined) countTransfer(result, error !== undefined);
    else if (error === undefined) scope.succeed(result);
    else scope.fail(transferError(error, bytes), result);
  };
}

async function* chunksOf({ parts, pace }: Plan): AsyncGenerator<Uint8Array, undefined> {
  for (const part of parts) {
    if (!isFilePart(part)) {
      yield part;
      continue;
    }
    let { start, length } = part;
    while (length > 0) {
      const most = Math.min(length, CHUNK_SIZE);
      const turn = pace?.next(most) ?? { bytes: most, delay: 0 };
      if (turn.delay > 0) await new Promise((resolve) => setTimeout(resolve, turn.delay));
      const chunk = await readChunk(part, start, turn.bytes);
      yield chunk;
      start += chunk.length;
      length -= chunk.length;
    }
  }
  return undefined;
}

async function readChunk({ file }: FilePart, position: number, size: number): Promise<Uint8Array> {
  const buffer = new Uint8Array(size); // of its own: a reader may transfer it
  const bytes = await file.read(buffer, position);
  if (bytes === 0) throw new Error('the file became shorter while it was sent');
  return buffer.subarray(0, bytes);
}
