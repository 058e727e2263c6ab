/** `zerocopy serve`. */
import cluster from 'node:cluster';
import { readFileSync, statSync } from 'node:fs';
import http, { type RequestListener, validateHeaderName, validateHeaderValue } from 'node:http';
import https from 'node:https';
import { FRAMING_FIELDS, type ServeFilesOptions, serveFiles } from '@zerocopy/serve-files';
import { type Call, UsageError } from './command.js';
import { accessLog, type LogFormat } from './server/access-log.js';
import {
  ADDRESS,
  type Address,
  addressOf,
  checkListenable,
  formatAddress,
  listen,
  parseAddress,
} from './server/address.js';
import { basicAuth } from './server/basic-auth.js';
import { closingAfterAnswers, connectionsOf, drain, untilStopped } from './server/drain.js';
import { isPrimary, isSpokesman, runWorkers } from './server/workers.js';
import type { Terminal } from './terminal.js';
import { parseCount, parseDuration, parseRate } from './units.js';

const DEFAULT_ADDRESS: Address = { kind: 'tcp', host: '127.0.0.1', port: 8080 };
const PORTS_TRIED = 100;
const DEFAULT_DRAIN = 30_000;

/** Serves until it is stopped. @returns 0 after a drain. */
export async function run(call: Call, terminal: Terminal): Promise<number> {
  const root = call.operands[0] ?? '.';
  const address = call.read('listen', parseAddress, ADDRESS);
  const workers = call.read('workers', parseCount(1), 'a number from 1 on') ?? 1;
  const drainTime = call.read('drain', parseDuration, 'a time, such as 30s') ?? DEFAULT_DRAIN;
  const handler = handlerOf(root, call, terminal);
  const server = serverOf(call, handler);
  if (!statSync(root, { throwIfNoEntry: false })?.isDirectory()) throw new Error(`'${root}' is not a directory`);
  if (cluster.isPrimary && address !== undefined) checkListenable(address);
  if (isPrimary(workers)) return await runWorkers(workers, call, terminal);

  const { signal } = terminal;
  closingAfterAnswers(server, signal);
  const sockets = connectionsOf(server);
  await listen(server, address ?? DEFAULT_ADDRESS, address === undefined ? PORTS_TRIED : 1);
  if (isSpokesman()) {
    const bound = addressOf(server, address ?? DEFAULT_ADDRESS);
    terminal.note(`zerocopy serve: ${root} on ${urlOf(bound, call.has('tls-cert'))}`);
  }
  await untilStopped(server, signal, (line) => terminal.note(`zerocopy serve: ${line}`));
  const cut = await drain(server, sockets, drainTime);
  if (cut > 0) terminal.note(`zerocopy serve: ${cut} connections were cut off after ${drainTime / 1000} s`);
  return cut > 0 ? 1 : 0;
}

function urlOf(address: Address, secure: boolean): string {
  if (address.kind !== 'tcp') return formatAddress(address);
  const host = address.host ?? 'localhost';
  const scheme = secure ? 'https' : 'http';
  const note = address.host === undefined ? ' (all interfaces)' : '';
  return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${address.port}/${note}`;
}

function serverOf(call: Call, handler: RequestListener): http.Server {
  const [cert, key] = [call.value('tls-cert'), call.value('tls-key')];
  if ((cert === undefined) !== (key === undefined)) throw new UsageError('--tls-cert and --tls-key belong together');
  if (cert === undefined || key === undefined) return http.createServer(handler);
  return https.createServer({ cert: readFileSync(cert), key: readFileSync(key) }, handler) as http.Server;
}

function handlerOf(root: string, call: Call, terminal: Terminal): RequestListener {
  const format = (call.value('log') ?? 'common') as LogFormat;
  const log = format === 'none' ? undefined : accessLog(format, terminal);
  const rate = call.read('limit-rate', parseRate, 'bytes per second above 0, such as 1M');
  const indexes = call.all('index');
  const options: ServeFilesOptions = {
    precompressed: call.has('precompressed'),
    listing: call.has('listing'),
    headers: headersOf(call),
    ...(call.has('spa') && { fallback: indexes[0] ?? 'index.html' }),
    ...(call.has('cors') && { cors: call.value('cors') as string }),
    ...(indexes.length > 0 && { index: indexes }),
    ...(rate !== undefined && { rate }),
    ...(log !== undefined && { onSent: log.onSent }),
  };
  let files: RequestListener;
  try {
    files = serveFiles(root, options) as RequestListener;
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
  const logged = log === undefined ? files : log.around(files);
  const users = call.all('auth');
  return users.length === 0 ? logged : basicAuth(users, logged, log?.refused);
}

function headersOf(call: Call): Record<string, string[]> {
  const headers: Record<string, string[]> = {};
  for (const text of call.all('header')) {
    const [, name = '', value = ''] = /^([^:]+):\s*(.*)$/.exec(text) ?? [];
    try {
      validateHeaderName(name);
      validateHeaderValue(name, value);
    } catch {
      throw new UsageError(`--header: expected 'Name: value', got '${text}'`);
    }
    if (FRAMING_FIELDS.has(name.toLowerCase())) {
      throw new UsageError(`--header: ${name} cannot be given: it is said by what sends the file`);
    }
    headers[name] = [...(headers[name] ?? []), value];
  }
  return headers;
}
