/** Asks for a file on some connections, again and again, until as many responses have come as it is told. */
import net from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';

export interface ClientData {
  readonly port: number;
  readonly connections: number;
  /** Bytes of each body. */
  readonly length: number;
}

const { port, connections, length } = workerData as ClientData;
const REQUEST = 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n';
const HEAD_END = '\r\n\r\n';

let toCome = 0;
let toSend = 0;

function connect(): net.Socket {
  const socket = net.connect(port, '127.0.0.1');
  /** What has come of a head that is not complete yet. */
  let head = '';
  /** Bytes of the body that are to come; 0: a head is. */
  let left = 0;
  const take = (chunk: Buffer): void => {
    let rest = chunk;
    while (rest.length > 0) {
      if (left === 0) {
        const before = head.length;
        head += rest.toString('latin1');
        const end = head.indexOf(HEAD_END);
        if (end < 0) return;
        if (!head.startsWith('HTTP/1.1 200')) throw new Error(`not a file: ${head.slice(0, 100)}`);
        rest = rest.subarray(end + HEAD_END.length - before);
        head = '';
        left = length;
      }
      const taken = Math.min(left, rest.length);
      left -= taken;
      rest = rest.subarray(taken);
      if (left > 0) return;
      if (--toCome === 0) parentPort?.postMessage('all');
      ask();
    }
  };
  const ask = (): void => {
    if (toSend === 0) return;
    toSend--;
    socket.write(REQUEST);
  };
  socket.on('data', take);
  return socket.on('close', () => {
    throw new Error('the server has closed a connection');
  });
}

const sockets = Array.from({ length: connections }, connect);

parentPort?.on('message', (responses: number) => {
  toCome = responses;
  toSend = Math.max(0, responses - connections);
  for (const socket of sockets.slice(0, responses)) socket.write(REQUEST);
});
