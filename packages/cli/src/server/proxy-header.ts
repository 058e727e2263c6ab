/**
 * The header by which a proxy in front tells who is connected: PROXY protocol, versions 1 and 2.
 * @see https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
 */
import { isIPv4, isIPv6, type Socket, SocketAddress } from 'node:net';
import type { ConnectionAddresses } from '@zerocopy/splice-pipe';

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
/** Of version 1, with its line end. */
const LINE_MAX = 107;
const V2_FIXED = 16;
/** More than all addresses and extensions need. */
const V2_MAX = 4096;

/** A header, and where what follows it begins. */
export interface ReadHeader {
  readonly addresses: ConnectionAddresses;
  readonly length: number;
}

const UNKNOWN: ConnectionAddresses = {};

/** @returns undefined: there is more to come. @throws {Error} it is no header. */
export function parseProxyHeader(bytes: Buffer): ReadHeader | undefined {
  const known = Math.min(bytes.length, SIGNATURE.length);
  if (SIGNATURE.compare(bytes, 0, known, 0, known) === 0) {
    return bytes.length < V2_FIXED ? undefined : parseBinary(bytes);
  }
  return parseLine(bytes);
}

const wrong = (): Error => new Error('the connection does not begin with a PROXY protocol header');

function parseLine(bytes: Buffer): ReadHeader | undefined {
  const text = bytes.toString('latin1', 0, LINE_MAX);
  const end = text.indexOf('\r\n');
  if (end < 0) {
    const begins = text.length < 6 ? 'PROXY '.startsWith(text) : text.startsWith('PROXY ');
    if (begins && bytes.length < LINE_MAX) return undefined;
    throw wrong();
  }
  const [word, family, remoteAddress = '', localAddress = '', remote = '', local = '', ...more] = text
    .slice(0, end)
    .split(' ');
  if (word !== 'PROXY') throw wrong();
  const length = end + 2;
  if (family === 'UNKNOWN') return { addresses: UNKNOWN, length };
  const isAddress = family === 'TCP4' ? isIPv4 : family === 'TCP6' ? isIPv6 : undefined;
  const remotePort = portOf(remote);
  const localPort = portOf(local);
  if (isAddress?.(remoteAddress) !== true || !isAddress(localAddress) || more.length > 0) throw wrong();
  if (remotePort === undefined || localPort === undefined) throw wrong();
  return { addresses: { remoteAddress, localAddress, remotePort, localPort }, length };
}

const portOf = (text: string): number | undefined =>
  /^(0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535 ? Number(text) : undefined;

const VERSION = 0x20;
const LOCAL = 0;
const PROXY = 1;
const TCP4 = 0x11;
const TCP6 = 0x21;

function parseBinary(bytes: Buffer): ReadHeader | undefined {
  const kind = bytes.readUInt8(12);
  const command = kind & 0x0f;
  if ((kind & 0xf0) !== VERSION || command > PROXY) throw wrong();
  const size = bytes.readUInt16BE(14);
  if (size > V2_MAX) throw wrong();
  const length = V2_FIXED + size;
  if (bytes.length < length) return undefined;
  const family = bytes.readUInt8(13);
  const width = family === TCP4 ? 4 : family === TCP6 ? 16 : 0;
  if (command === LOCAL || width === 0) return { addresses: UNKNOWN, length };
  if (size < 2 * width + 4) throw wrong();
  const at = V2_FIXED;
  return {
    addresses: {
      remoteAddress: addressText(bytes.subarray(at, at + width)),
      localAddress: addressText(bytes.subarray(at + width, at + 2 * width)),
      remotePort: bytes.readUInt16BE(at + 2 * width),
      localPort: bytes.readUInt16BE(at + 2 * width + 2),
    },
    length,
  };
}

function addressText(bytes: Buffer): string {
  if (bytes.length === 4) return [...bytes].join('.');
  const address = Array.from({ length: 8 }, (_, group) => bytes.readUInt16BE(group * 2).toString(16)).join(':');
  return new SocketAddress({ family: 'ipv6', address }).address; // as the system writes it: 2001:db8::1
}

/** Reads the header of a connection. What follows it is `rest`. @throws {Error} it is none, or does not come in time. */
export function readProxyHeader(
  socket: Socket,
  milliseconds: number,
): Promise<{ readonly addresses: ConnectionAddresses; readonly rest: Buffer }> {
  return new Promise((resolve, reject) => {
    let bytes: Buffer = Buffer.alloc(0);
    const timer = setTimeout(() => end(new Error('no PROXY protocol header has come in time')), milliseconds);
    const end = (error: Error | undefined, header?: ReadHeader): void => {
      clearTimeout(timer);
      socket.off('readable', onReadable).off('end', onEnd).off('close', onEnd);
      if (header === undefined) reject(error);
      else resolve({ addresses: header.addresses, rest: bytes.subarray(header.length) });
    };
    const onReadable = (): void => {
      for (;;) {
        const chunk = socket.read() as Buffer | null;
        if (chunk === null) return;
        bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
        try {
          const header = parseProxyHeader(bytes);
          if (header !== undefined) return end(undefined, header);
        } catch (error) {
          return end(error as Error);
        }
      }
    };
    const onEnd = (): void => end(new Error('the connection ended within its PROXY protocol header'));
    socket.on('readable', onReadable).on('end', onEnd).on('close', onEnd);
  });
}
