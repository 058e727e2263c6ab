/** TLS without certificates, by a key that both ends know; and servers, connections and requests that use it. */
import { once } from 'node:events';
import type { IncomingMessage, RequestListener } from 'node:http';
import https, { type ServerOptions } from 'node:https';
import type { AddressInfo } from 'node:net';
import tls, { type ConnectionOptions, type TLSSocket } from 'node:tls';
import type { Answer } from './http.js';
import { collect, destroyed } from './sockets.js';

export type TlsVersion = 'TLSv1.2' | 'TLSv1.3';
export const TLS_VERSIONS: readonly TlsVersion[] = ['TLSv1.2', 'TLSv1.3'];

const key = Buffer.from('d731ef57be09e5204f0b205b60627028', 'hex');
const commonOf = (version: TlsVersion) =>
  ({
    ciphers: version === 'TLSv1.2' ? 'PSK' : 'TLS_AES_128_GCM_SHA256',
    minVersion: version,
    maxVersion: version,
  }) as const;

/** Of a server. */
export const serverOptionsOf = (version: TlsVersion = 'TLSv1.2'): ServerOptions =>
  ({ ...commonOf(version), pskCallback: () => key }) as ServerOptions;

/** Of its client. */
export const clientOptionsOf = (version: TlsVersion = 'TLSv1.2'): ConnectionOptions =>
  ({
    ...commonOf(version),
    checkServerIdentity: () => undefined,
    pskCallback: () => ({ psk: key, identity: 'test' }),
  }) as ConnectionOptions;

/** Uses a listening https server; it is closed with all its connections when `use` resolves or rejects. */
export async function withHttpsServer<T>(
  version: TlsVersion,
  listener: RequestListener,
  use: (port: number) => Promise<T>,
): Promise<T> {
  const server = https.createServer(serverOptionsOf(version), listener);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    return await use((server.address() as AddressInfo).port);
  } finally {
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  }
}

/** One request. Rejects if the answer breaks off. */
export function getEncrypted(
  version: TlsVersion,
  port: number,
  options: https.RequestOptions = {},
  body?: Uint8Array,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const all = { host: '127.0.0.1', port, agent: false, ...clientOptionsOf(version), ...options } as const;
    const request = https.request(all, (response: IncomingMessage) => {
      const { statusCode: status = 0, headers } = response;
      collect(response).then((received) => resolve({ status, headers, body: received }), reject);
    });
    request.on('error', reject);
    request.end(body);
  });
}

/** Connects, and waits for the end of the handshake. */
export async function connectEncrypted(version: TlsVersion, port: number): Promise<TLSSocket> {
  const client = tls.connect({ port, host: '127.0.0.1', ...clientOptionsOf(version) });
  await once(client, 'secureConnect');
  return client;
}

/** Uses a connected pair of encrypted sockets; both are closed when it resolves or rejects. Their errors are left to the caller. */
export async function withEncryptedPair<T>(
  version: TlsVersion,
  use: (server: TLSSocket, client: TLSSocket) => Promise<T>,
): Promise<T> {
  const listening = tls.createServer({ ...serverOptionsOf(version), allowHalfOpen: true } as tls.TlsOptions);
  listening.listen(0, '127.0.0.1');
  await once(listening, 'listening');
  const accepted = once(listening, 'secureConnection') as Promise<[TLSSocket]>;
  const client = await connectEncrypted(version, (listening.address() as AddressInfo).port);
  const [server] = await accepted;
  listening.close();
  try {
    return await use(server, client);
  } finally {
    await Promise.all([server, client].map(destroyed));
  }
}
