import { sendFileResponse, serveFiles } from '@zerocopy/serve-files';
import express from 'express';

const root = process.argv[2] ?? 'public';
const app = express();

app.use(serveFiles(root, { precompressed: true, cache: { files: 1000, maxAgeMs: 60_000 } }));

// A file that the program chooses itself, confined to a directory of its own.
app.get('/reports/:name', async (request, response) => {
  await sendFileResponse(request, response, root, `${request.params.name}.txt`, { download: true });
});

app.listen(Number(process.env.PORT ?? 8080));
