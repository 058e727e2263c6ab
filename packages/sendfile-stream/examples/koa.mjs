import { once } from 'node:events';
import { createSendfileStream } from '@zerocopy/sendfile-stream';
import Koa from 'koa';

const file = process.argv[2] ?? 'download.bin';
const CLIENT_LEFT = new Set(['ECONNRESET', 'EPIPE', 'ERR_STREAM_PREMATURE_CLOSE']);
const app = new Koa();

app.use(async (context) => {
  const source = createSendfileStream(file);
  try {
    await once(source, 'open'); // before anything is sent, so that there can be another answer
  } catch (error) {
    if (error.code === 'ENOENT') return; // Koa's own 404
    throw error;
  }
  context.type = 'application/octet-stream';
  context.body = source;
});
app.on('error', (error) => {
  if (!CLIENT_LEFT.has(error.code)) console.error(error);
});

app.listen(Number(process.env.PORT ?? 8080));
