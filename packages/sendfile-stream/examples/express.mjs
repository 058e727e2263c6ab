import { sendFile } from '@zerocopy/sendfile-stream';
import express from 'express';

const file = process.argv[2] ?? 'download.bin';
const app = express();

app.get('/', async (_request, response) => {
  response.type('application/octet-stream');
  await sendFile(response, file);
});

app.listen(Number(process.env.PORT ?? 8080));
