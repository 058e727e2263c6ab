import { once } from 'node:events';
import { createSendfileStream } from '@zerocopy/sendfile-stream';
import fastify from 'fastify';

const file = process.argv[2] ?? 'download.bin';
const app = fastify();

app.get('/', async (_request, reply) => {
  const source = createSendfileStream(file);
  try {
    await once(source, 'open'); // before anything is sent, so that there can be another answer
  } catch (error) {
    if (error.code === 'ENOENT') return reply.callNotFound(); // Fastify's own 404
    throw error;
  }
  return reply.type('application/octet-stream').send(source);
});

await app.listen({ port: Number(process.env.PORT ?? 8080) });
