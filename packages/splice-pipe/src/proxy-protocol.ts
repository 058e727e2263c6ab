/**
 * The header by which a proxy tells the upstream who is connected: PROXY protocol, versions 1 and 2.
 * @see https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
 */
import { isIPv4, isIPv6 } from 'node:net';

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const VERSION_2_PROXY = 0x21;
const VERSION_2_LOCAL = 0x20;
const TCP4 = 0x11;
const TCP6 = 0x21;

/** Both ends of a connection, as a net.Socket names them; undefined where they have no address. */
export interface ConnectionAddresses {
  /** Of the client: IPv4 or IPv6. */
  readonly remoteAddress?: string | undefined;
  /** Of the client. */
  readonly remotePort?: number | undefined;
  /** Where the client has connected to: of the same family. */
  readonly localAddress?: string | undefined;
  /** Where the client has connected to. */
  readonly localPort?: number | undefined;
}

interface Addresses {
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
}

function addressesOf({
  remoteAddress,
  remotePort,
  localAddress,
  localPort,
}: ConnectionAddresses): Addresses | undefined {
  if (!remoteAddress || !localAddress || remotePort === undefined || localPort === undefined) return undefined;
  return {
    source: remoteAddress,
    sourcePort: remotePort,
    destination: localAddress,
    destinationPort: localPort,
  };
}

const withoutMapping = (address: string): string => address.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '');

/** Sixteen bytes of an IPv6 address, or four of an IPv4 one. */
function bytesOf(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split('.').map(Number));
  const tail = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(address);
  const [high = '', low] = (tail === null ? address : (tail[1] as string).replace(/([^:]):$/, '$1')).split('::');
  const groups = (text: string | undefined): number[] =>
    text === undefined || text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16));
  const last = tail === null ? [] : [...bytesOf(tail[2] as string)];
  const before = groups(high);
  const after = groups(low);
  const result = Buffer.alloc(16);
  before.forEach((group, index) => {
    result.writeUInt16BE(group, index * 2);
  });
  const end = 16 - last.length;
  after.forEach((group, index) => {
    result.writeUInt16BE(group, end - (after.length - index) * 2);
  });
  Buffer.from(last).copy(result, end);
  return result;
}

/**
 * The header for the connection `client`, for a proxy that sends it by itself: `proxy` does so with the option
 * `proxyProtocol`. Of a connection without addresses (a unix socket) it says just that.
 */
export function proxyHeader(version: 'v1' | 'v2', client: ConnectionAddresses): Buffer {
  const known = addressesOf(client);
  const source = known === undefined ? '' : withoutMapping(known.source);
  const destination = known === undefined ? '' : withoutMapping(known.destination);
  const four = isIPv4(source) && isIPv4(destination);
  const six = !four && isIPv6(source) && isIPv6(destination);
  if (known === undefined || !(four || six)) {
    if (version === 'v1') return Buffer.from('PROXY UNKNOWN\r\n', 'latin1');
    return Buffer.concat([SIGNATURE, Buffer.from([VERSION_2_LOCAL, 0, 0, 0])]);
  }
  if (version === 'v1') {
    const family = four ? 'TCP4' : 'TCP6';
    const ports = `${known.sourcePort} ${known.destinationPort}`;
    return Buffer.from(`PROXY ${family} ${source} ${destination} ${ports}\r\n`, 'latin1');
  }
  const addresses = Buffer.concat([bytesOf(source), bytesOf(destination)]);
  const rest = Buffer.alloc(4);
  rest.writeUInt16BE(addresses.length + 4, 2);
  rest.writeUInt8(VERSION_2_PROXY, 0);
  rest.writeUInt8(four ? TCP4 : TCP6, 1);
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(known.sourcePort, 0);
  ports.writeUInt16BE(known.destinationPort, 2);
  return Buffer.concat([SIGNATURE, rest, addresses, ports]);
}
