import http from 'node:http';
import { RateLimit, serveFiles } from '@zerocopy/serve-files';

const root = process.argv[2] ?? 'videos';

// Players seek by ranges. 1 MiB at once, so that a film starts; then 2 MiB/s each, and 100 MiB/s for all together.
const files = serveFiles(root, {
  rateAfter: 2 ** 20,
  rate: [2 * 2 ** 20, new RateLimit(100 * 2 ** 20)],
  onSent: ({ path, status, bytes, duration, error }) => {
    console.log(`${status} ${path}: ${bytes} bytes in ${duration.toFixed()} ms${error ? ` (${error.message})` : ''}`);
  },
});

http.createServer(files).listen(Number(process.env.PORT ?? 8080));
