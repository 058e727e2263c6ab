import { sendFile } from '@zerocopy/sendfile-stream';
import express from 'express';

const file = process.argv[2] ?? 'download.bin';
const CLIENT_LEFT = new Set(['ECONNRESET', 'EPIPE', 'ERR_STREAM_PREMATURE_CLOSE']);
const app = express();

app.get('/', async (_request, response, next) => {
  response.type('application/octet-stream');
  try {
    await sendFile(response, file);
  } catch (error) {
    if (CLIENT_LEFT.has(error.code)) return; // the connection is closed by now
    if (error.code === 'ENOENT')
      next(); // Express's own 404
    else next(error);
  }
});

app.listen(Number(process.env.PORT ?? 8080));
