/** Programs that store what they are sent, copy files, and run other programs. */
import { spawn } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream, readFileSync } from 'node:fs';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import { join } from 'node:path';
import { pipeline } from 'node:stream';
import { pipelined } from './client.js';
import { type Loose, listening, load } from './loading.js';
import { content, type Exchange, type RealProgram } from './program.js';

const digest = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');
const answer = (response: ServerResponse, path: string): void => void response.end(digest(path));

const BOUNDARY = '----------------boundary';
const form = Buffer.concat([
  Buffer.from(`--${BOUNDARY}\r\nContent-Disposition: form-data; name="text"\r\n\r\nvalue\r\n`),
  Buffer.from(
    `--${BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\nContent-Type: application/octet-stream\r\n\r\n`,
  ),
  content('large.bin'),
  Buffer.from(`\r\n--${BOUNDARY}--\r\n`),
]);

const upload: Exchange = {
  name: 'a form',
  head: ['POST / HTTP/1.1', `Content-Type: multipart/form-data; boundary=${BOUNDARY}`],
  body: form,
};

type Handler = (request: IncomingMessage, response: ServerResponse, path: string, site: string) => void;

const handling = (site: string, handle: Handler): http.Server =>
  http.createServer((request, response) => handle(request, response, join(site, 'out', randomUUID()), site));

const small = (
  name: string,
  handle: Handler,
  kinds: readonly string[],
  exchanges: readonly Exchange[],
): RealProgram => ({
  name,
  modules: [],
  kinds,
  start: (site) => listening(handling(site, handle)),
  exchanges,
});

const GET: Exchange = { name: 'GET', head: ['GET / HTTP/1.1'] };

/** A certificate for localhost, made by the openssl that Node has with it is not to be had: a key exchange without one is. */
const TLS = { ciphers: 'aNULL:@SECLEVEL=0', minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' } as const;

export const storing: readonly RealProgram[] = [
  small(
    'uploads to fs.createWriteStream',
    (request, response, path) => {
      if (request.url === '/pipeline') pipeline(request, createWriteStream(path), () => answer(response, path));
      else request.pipe(createWriteStream(path)).on('finish', () => answer(response, path));
    },
    ['body->file'],
    ['/pipe', '/pipeline'].flatMap((path) => [
      { name: `PUT ${path}`, head: [`PUT ${path} HTTP/1.1`], body: content('huge.bin') },
      pipelined(`PUT ${path}, several on one connection`, [
        { head: [`PUT ${path} HTTP/1.1`], body: content('large.bin') },
        { head: [`PUT ${path} HTTP/1.1`], body: content('small.txt') },
        { head: [`PUT ${path} HTTP/1.1`], body: content('huge.bin') },
      ]),
      { name: `PUT ${path}, small`, head: [`PUT ${path} HTTP/1.1`], body: content('small.txt') },
      { name: `PUT ${path}, chunked`, head: [`PUT ${path} HTTP/1.1`], body: content('large.bin'), chunked: true },
    ]),
  ),
  {
    name: 'multer',
    modules: ['express', 'multer'],
    kinds: [],
    start(site) {
      const app = load('express')();
      const store = load('multer')({ dest: join(site, 'out') });
      app.post('/', store.single('file'), (request: Loose, response: Loose) => answer(response, request.file.path));
      return listening(http.createServer(app));
    },
    exchanges: [upload],
  },
  {
    name: 'busboy',
    modules: ['busboy'],
    kinds: [],
    start(site) {
      const busboy = load('busboy');
      return listening(
        handling(site, (request, response, path) => {
          const parser = busboy({ headers: request.headers });
          parser.on('file', (_name: string, file: Loose) => {
            file.pipe(createWriteStream(path)).on('finish', () => answer(response, path));
          });
          request.pipe(parser);
        }),
      );
    },
    exchanges: [upload],
  },
  {
    name: 'formidable',
    modules: ['formidable'],
    kinds: [],
    start(site) {
      const { formidable } = load('formidable');
      return listening(
        http.createServer(async (request, response) => {
          const [, files] = await formidable({ uploadDir: join(site, 'out') }).parse(request);
          answer(response, files.file[0].filepath);
        }),
      );
    },
    exchanges: [upload],
  },
  small(
    'file to file',
    (_request, response, path, site) => {
      createReadStream(join(site, 'huge.bin'))
        .pipe(createWriteStream(path))
        .on('finish', () => answer(response, path));
    },
    ['file->file'],
    [GET],
  ),
  small(
    'a child, its output into a response and into a file, its input from a file',
    (request, response, path, site) => {
      const source = join(site, 'huge.bin');
      if (request.url === '/response') spawn('cat', [source]).stdout.pipe(response);
      else if (request.url === '/file') {
        spawn('cat', [source])
          .stdout.pipe(createWriteStream(path))
          .on('finish', () => answer(response, path));
      } else {
        const child = spawn('sha256sum', [], { stdio: ['pipe', 'pipe', 'inherit'] });
        createReadStream(source).pipe(child.stdin);
        child.stdout.pipe(response);
      }
    },
    ['file->socket', 'socket->file'],
    ['/response', '/file', '/input'].map((path) => ({ name: path, head: [`GET ${path} HTTP/1.1`] })),
  ),
  {
    name: 'https',
    modules: [],
    kinds: ['file->http'],
    start(site) {
      return listening(
        https.createServer(TLS, (_request, response) => {
          createReadStream(join(site, 'large.bin')).pipe(response);
        }),
      );
    },
    exchanges: [
      {
        name: 'GET',
        converse: (port) =>
          new Promise((resolve, reject) => {
            const request = https.get(
              { port, host: '127.0.0.1', rejectUnauthorized: false, agent: false, ...TLS },
              (response) => {
                const chunks: Buffer[] = [];
                response.on('data', (chunk: Buffer) => chunks.push(chunk));
                response.on('end', () => resolve(Buffer.concat(chunks)));
              },
            );
            request.on('error', reject);
          }),
      },
    ],
  },
  {
    name: 'http2',
    modules: [],
    kinds: [],
    start(site) {
      const server = http2.createServer((request, response) => {
        const path = join(site, 'out', randomUUID());
        if (request.method === 'PUT')
          request.pipe(createWriteStream(path)).on('finish', () => response.end(digest(path)));
        else createReadStream(join(site, 'large.bin')).pipe(response);
      });
      return listening(server as unknown as http.Server);
    },
    exchanges: ['GET', 'PUT'].map((method) => ({
      name: method,
      converse: (port) =>
        new Promise((resolve, reject) => {
          const session = http2.connect(`http://127.0.0.1:${port}`);
          const stream = session.request({ ':method': method, ':path': '/' });
          const chunks: Buffer[] = [];
          stream.on('data', (chunk: Buffer) => chunks.push(chunk));
          stream.on('error', reject);
          stream.on('end', () => {
            session.close();
            resolve(Buffer.concat(chunks));
          });
          stream.end(method === 'PUT' ? content('large.bin') : undefined);
        }),
    })),
  },
];
