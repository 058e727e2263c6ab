/** HTTP's Basic authentication (RFC 7617), against SHA-256 hashes. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { UsageError } from '../command.js';

const HASH = /^([^:]+):sha256:([\da-f]{64})$/i;
const digest = (text: string | Buffer): Buffer => createHash('sha256').update(text).digest();

/**
 * A handler that lets those in whose name and password are known. How long a comparison takes tells nothing of either:
 * all users are compared, by hashes of equal length.
 * @param users 'name:sha256:hash', each.
 * @param refused told of each request that was answered by 401.
 */
export function basicAuth(
  users: readonly string[],
  handler: RequestListener,
  refused: ((request: IncomingMessage, response: ServerResponse) => void) | undefined,
): RequestListener {
  const known = users.map((text) => {
    const [, name = '', hash = ''] = HASH.exec(text) ?? [];
    if (name === '') throw new UsageError(`--auth: expected user:sha256:hash, the hash in hexadecimal`);
    return { name: digest(name), password: Buffer.from(hash, 'hex') };
  });
  const isKnown = (field: string | undefined): boolean => {
    const [, credentials = ''] = /^basic +([\w+/=-]+) *$/i.exec(field ?? '') ?? [];
    const decoded = Buffer.from(credentials, 'base64');
    const colon = decoded.indexOf(':');
    const given = {
      name: digest(colon < 0 ? '' : decoded.subarray(0, colon)),
      password: digest(colon < 0 ? '' : decoded.subarray(colon + 1)),
    };
    let found = 0;
    for (const { name, password } of known) {
      found |= Number(timingSafeEqual(name, given.name)) & Number(timingSafeEqual(password, given.password));
    }
    return colon >= 0 && found === 1;
  };
  return (request, response) => {
    if (isKnown(request.headers.authorization)) return handler(request, response);
    response.writeHead(401, { 'www-authenticate': 'Basic realm="zerocopy", charset="UTF-8"', 'content-length': 0 });
    response.end();
    refused?.(request, response);
  };
}
