/** Requests as bytes, and replies as bytes: taken apart only as far as two of the same may differ. */
import { createHash } from 'node:crypto';
import net from 'node:net';
import type { Exchange } from './program.js';

/** What is compared. */
export interface Reply {
  /** Status line and header lines, in their order; the date is left out. */
  readonly head: string;
  readonly framing: 'length' | 'chunked' | 'close' | 'none';
  readonly bytes: number;
  readonly sha256: string;
  /** Whether all that was promised came. */
  readonly whole: boolean;
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** All that comes on a connection until it closes. A request is written in two parts, so that its body is on its way. */
async function exchanged(port: number, head: Buffer, body: Buffer): Promise<Buffer> {
  const socket = net.connect(port, '127.0.0.1');
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.on('error', () => {}); // 'close' follows
  socket.write(head);
  if (body.length > 0) setTimeout(() => socket.write(body), 10);
  // Not by once(), which an error ends as well: what has been answered before it is the reply.
  await new Promise((resolve) => {
    socket.on('close', resolve);
  });
  return Buffer.concat(chunks);
}

/** What goes on one connection that is kept. */
interface Kept {
  /** Without its last empty line, and without Connection. */
  readonly head: readonly string[];
  readonly body?: Buffer;
}

/** Requests that are sent one right behind the other, on one connection: the replies to all of them, but for their dates. */
export function pipelined(name: string, requests: readonly Kept[]): Exchange {
  const parts = requests.map(({ head, body }, index) => {
    const length = body === undefined ? [] : [`Content-Length: ${body.length}`];
    const last = index === requests.length - 1 ? ['Connection: close'] : [];
    const lines = [...head, 'Host: localhost', ...length, ...last, '', ''];
    return Buffer.concat([Buffer.from(lines.join('\r\n')), body ?? Buffer.alloc(0)]);
  });
  return {
    name,
    async converse(port) {
      const replies = await exchanged(port, Buffer.concat(parts), Buffer.alloc(0));
      if (replies.length === 0) throw new Error('nothing was answered');
      return Buffer.from(replies.toString('latin1').replace(/^Date: .*$/gim, 'Date: …'), 'latin1');
    },
  };
}

function chunkedBody(body: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < body.length; at += 50_000) {
    const part = body.subarray(at, at + 50_000);
    parts.push(Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n'));
  }
  return Buffer.concat([...parts, Buffer.from('0\r\n\r\n')]);
}

/** Milliseconds after which an exchange is given up. */
const PATIENCE = 10_000;

/** Makes one exchange. A reply that does not come to its end in time is not whole. */
export async function ask(port: number, exchange: Exchange): Promise<Reply> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Reply>((resolve) => {
    const reply: Reply = { head: 'no end in time', framing: 'none', bytes: 0, sha256: '', whole: false };
    timer = setTimeout(resolve, PATIENCE, reply);
  });
  try {
    return await Promise.race([made(port, exchange), late]);
  } finally {
    clearTimeout(timer);
  }
}

async function made(port: number, { head = [], body, chunked, converse }: Exchange): Promise<Reply> {
  if (converse !== undefined) {
    const bytes = await converse(port);
    return { head: '', framing: 'close', bytes: bytes.length, sha256: sha256(bytes), whole: true };
  }
  const sent = body === undefined ? Buffer.alloc(0) : chunked ? chunkedBody(body) : body;
  const framing = body === undefined ? [] : [chunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${sent.length}`];
  const lines = [...head, 'Host: localhost', 'Connection: close', ...framing, '', ''];
  return replyOf(await exchanged(port, Buffer.from(lines.join('\r\n')), sent), head[0]?.startsWith('HEAD ') ?? false);
}

/** @param isHead whether the request was one without a body in its answer. */
export function replyOf(bytes: Buffer, isHead: boolean): Reply {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) return { head: bytes.toString('latin1'), framing: 'none', bytes: 0, sha256: '', whole: false };
  const head = bytes.toString('latin1', 0, end).replace(/^Date: .*$/im, 'Date: …');
  const rest = bytes.subarray(end + 4);
  const length = /^content-length: (\d+)$/im.exec(head)?.[1];
  const told = (framing: Reply['framing'], body: Buffer, whole: boolean): Reply => ({
    head,
    framing,
    bytes: body.length,
    sha256: sha256(body),
    whole,
  });
  if (isHead || / (204|304)\b/.test(head.split('\r\n')[0] as string)) return told('none', rest, rest.length === 0);
  if (/^transfer-encoding: chunked$/im.test(head)) return told('chunked', ...dechunked(rest));
  return length === undefined ? told('close', rest, true) : told('length', rest, rest.length === Number(length));
}

/** The body, and whether the framing is right to its last byte. */
function dechunked(bytes: Buffer): [body: Buffer, whole: boolean] {
  const parts: Buffer[] = [];
  for (let at = 0; ; ) {
    const line = bytes.indexOf('\r\n', at);
    const size = Number.parseInt(bytes.toString('latin1', at, line), 16);
    if (line < 0 || Number.isNaN(size)) return [Buffer.concat(parts), false];
    const from = line + 2;
    parts.push(bytes.subarray(from, from + size));
    at = from + size + 2;
    if (bytes.toString('latin1', at - 2, at) !== '\r\n') return [Buffer.concat(parts), false];
    if (size === 0) return [Buffer.concat(parts), at === bytes.length];
  }
}
