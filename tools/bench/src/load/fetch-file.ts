/** A file over plain TCP, by a client that polls. */
import { constants } from '@zerocopy/core-syscalls';
import { Patience } from './patience.js';
import { closeSocket, connectTo, receive, transmit } from './raw-socket.js';

const ROOM = 1024 * 1024;
const { MSG_TRUNC } = constants;
const buffer = Buffer.allocUnsafeSlow(ROOM);

/**
 * Connects, asks for a file by a line, and reads to the end; the bytes that came.
 * @param onBytes gets them. Without it they are discarded where they are.
 */
export function fetchFile(port: number, name: string, onBytes?: (bytes: Buffer) => void): number {
  const fd = connectTo(port);
  try {
    const line = Buffer.from(`${name}\n`, 'latin1');
    transmit(fd, line, line.length);
    const patience = new Patience();
    for (let bytes = 0; ; ) {
      const received = receive(fd, buffer, ROOM, onBytes === undefined ? MSG_TRUNC : 0);
      if (received === 0) return bytes;
      if (received < 0) patience.nothing();
      else {
        patience.progressed();
        onBytes?.(buffer.subarray(0, received));
        bytes += received;
      }
    }
  } finally {
    closeSocket(fd);
  }
}
