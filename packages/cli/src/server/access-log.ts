/** A line for each answer: in the Common Log Format, or as JSON. */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { SentInfo } from '@zerocopy/serve-files';
import type { Terminal } from '../terminal.js';

export type LogFormat = 'common' | 'json' | 'none';

/** What is wrapped around a handler so that its answers are told. */
export interface AccessLog {
  onSent(info: SentInfo): void;
  around(handler: RequestListener): RequestListener;
  refused(request: IncomingMessage, response: ServerResponse): void;
}

interface Asked {
  readonly request: IncomingMessage;
  /** The address is gone when the connection is. */
  readonly client: string;
  readonly at: Date;
}

const MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ');
const two = (number: number): string => String(number).padStart(2, '0');

/** '27/Nov/2026:22:45:01 +0000'. */
function commonDate(at: Date): string {
  const day = `${two(at.getUTCDate())}/${MONTHS[at.getUTCMonth()]}/${at.getUTCFullYear()}`;
  return `${day}:${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())} +0000`;
}

/** What a client sends must not look like a line of its own. */
const printable = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is taken out
  text.replaceAll(/[\u0000-\u001f\u007f-\u009f"\\]/g, (one) => `\\x${one.charCodeAt(0).toString(16).padStart(2, '0')}`);

/** Bytes of the log that wait for a reader of standard output. What comes beyond them is dropped: the server goes on. */
const UNREAD = 2 ** 20;

/** Writes to standard output. */
export function accessLog(format: Exclude<LogFormat, 'none'>, terminal: Terminal): AccessLog {
  const asking = new AsyncLocalStorage<Asked>();
  const askedOf = (request: IncomingMessage): Asked => ({
    request,
    client: request.socket.remoteAddress ?? '-',
    at: new Date(),
  });
  let dropped = 0;
  const line = (text: string): void => {
    if (terminal.stdio.stdout.writableLength > UNREAD) {
      if (dropped++ === 0) terminal.note('zerocopy serve: standard output is not read: lines of the log are dropped');
      return;
    }
    if (dropped > 0) terminal.note(`zerocopy serve: ${dropped} lines of the log were dropped`);
    dropped = 0;
    terminal.out(text);
  };
  const write = ({ request, client, at }: Asked, info: Omit<SentInfo, 'path' | 'method'>): void => {
    const { method = '-', url = '-', httpVersion } = request;
    const { status, bytes, duration, transfer, error } = info;
    if (format === 'json') {
      const milliseconds = Math.round(duration * 1000) / 1000;
      const told = { time: at.toISOString(), client, method, url, status, bytes, milliseconds, transfer };
      line(JSON.stringify({ ...told, error: error?.message }));
    } else {
      const asked = `${method} ${printable(url)} HTTP/${httpVersion}`;
      line(`${client} - - [${commonDate(at)}] "${asked}" ${status} ${bytes === 0 ? '-' : bytes}`);
    }
  };
  return {
    onSent(info) {
      const asked = asking.getStore();
      if (asked !== undefined) write(asked, info);
    },
    around: (handler) => (request, response) => asking.run(askedOf(request), () => handler(request, response)),
    refused(request, response) {
      write(askedOf(request), {
        status: response.statusCode,
        bytes: 0,
        duration: 0,
        transfer: undefined,
        error: undefined,
      });
    },
  };
}
