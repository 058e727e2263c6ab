import { koaFiles } from '@zerocopy/serve-files';
import Koa from 'koa';

const root = process.argv[2] ?? 'public';
const app = new Koa();

app.use(koaFiles(root, { precompressed: true }));
app.use((context) => {
  if (context.path === '/api') context.body = { answer: 42 };
});

app.listen(Number(process.env.PORT ?? 8080));
