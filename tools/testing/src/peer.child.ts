/** The process of a {@link Peer}. It ends when its channel does. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { type Fingerprint, FingerprintCounter, pattern } from './bytes.js';
import type { Conversation, PeerAnswer } from './peer.js';
import { turn } from './waiting.js';

async function converse({ address, send, chunk, gaps }: Conversation): Promise<Fingerprint> {
  const socket = connect({ ...address, allowHalfOpen: true });
  await once(socket, 'connect');
  socket.setNoDelay(true);
  const counter = new FingerprintCounter();
  const ended = once(socket, 'end');
  socket.on('data', (data: Buffer) => counter.add(data));
  for (let at = 0; at < send; at += chunk) {
    const more = socket.write(pattern(Math.min(chunk, send - at), at));
    if (!more) await once(socket, 'drain');
    else if (gaps) await turn();
  }
  socket.end();
  await ended;
  return counter.finish();
}

process.on('message', (question: Conversation & { readonly id: number }) => {
  const { id } = question;
  converse(question).then(
    (fingerprint) => process.send?.({ id, fingerprint } satisfies PeerAnswer),
    (error: Error) => process.send?.({ id, error: error.message } satisfies PeerAnswer),
  );
});
process.on('disconnect', () => process.exit());
