import { createSendfileStream } from '@zerocopy/sendfile-stream';
import Koa from 'koa';

const file = process.argv[2] ?? 'download.bin';
const app = new Koa();

app.use((context) => {
  context.type = 'application/octet-stream';
  context.body = createSendfileStream(file);
});

app.listen(Number(process.env.PORT ?? 8080));
