import { serve } from '@hono/node-server';
import { honoFiles } from '@zerocopy/serve-files';
import { Hono } from 'hono';

const root = process.argv[2] ?? 'public';
const app = new Hono();

app.get('/api', (context) => context.json({ answer: 42 }));
app.use('*', honoFiles(root, { precompressed: true }));

serve({ fetch: app.fetch, port: Number(process.env.PORT ?? 8080) });
