import { createSendfileStream } from '@zerocopy/sendfile-stream';
import fastify from 'fastify';

const file = process.argv[2] ?? 'download.bin';
const app = fastify();

app.get('/', (_request, reply) => reply.type('application/octet-stream').send(createSendfileStream(file)));

await app.listen({ port: Number(process.env.PORT ?? 8080) });
