import { resolve } from 'node:path';
import { fastifyFiles } from '@zerocopy/serve-files';
import fastify from 'fastify';

const root = resolve(process.argv[2] ?? 'public');
const app = fastify();

app.register(fastifyFiles, { root, precompressed: true });
app.get('/api', () => ({ answer: 42 }));

await app.listen({ port: Number(process.env.PORT ?? 8080) });
