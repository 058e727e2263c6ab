import http from 'node:http';
import { serveFiles } from '@zerocopy/serve-files';

const root = process.argv[2] ?? 'public';

const server = http.createServer(serveFiles(root, { precompressed: true, immutable: true, fallback: 'index.html' }));

server.listen(Number(process.env.PORT ?? 8080));
