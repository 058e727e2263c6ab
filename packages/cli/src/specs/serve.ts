import type { CommandSpec } from '../command.js';
import { DRAIN_OPTION, WORKERS_OPTION } from './shared.js';

/** `zerocopy serve`. */
export const serveSpec: CommandSpec = {
  name: 'serve',
  summary: 'serve the files of a directory over HTTP, confined and sent by the kernel',
  operands: '[DIRECTORY]',
  count: [0, 1],
  completes: 'directories',
  description: [
    'Serves DIRECTORY (default: the current one). Names that begin with a dot, and symbolic links that lead outside, are not found; directories without an index are not listed unless --listing is given.',
    'SIGTERM or SIGINT drains: requests are answered, each connection is closed after its answer, and the exit status is 0 if none had to be cut off. A second signal ends it at once.',
  ],
  options: [
    {
      name: 'listen',
      short: 'l',
      value: 'ADDRESS',
      text: 'tcp://host:port, :port (all interfaces), unix:path, fd:3 (systemd socket activation). Default tcp://127.0.0.1:8080, or the next port that is free',
    },
    { name: 'spa', text: 'answer navigations to what does not exist by the index' },
    { name: 'cors', value: 'ORIGIN', implied: '*', text: 'Access-Control-Allow-Origin: * or ORIGIN' },
    { name: 'header', value: 'FIELD', multiple: true, text: "a header field for every file: 'Name: value'" },
    {
      name: 'index',
      value: 'NAME',
      multiple: true,
      text: 'the file that stands for its directory; several are tried in this order. Default index.html',
    },
    { name: 'listing', text: 'list directories without an index' },
    { name: 'precompressed', text: 'serve .zst, .br and .gz files that lie beside a file' },
    { name: 'limit-rate', value: 'BYTES', text: 'bytes per second for each response, such as 1M' },
    {
      name: 'auth',
      value: 'USER',
      multiple: true,
      text: 'user:sha256:hash of the password: only these may (Basic authentication; use it with TLS)',
    },
    { name: 'tls-cert', value: 'FILE', text: 'serve HTTPS with this certificate (PEM)' },
    { name: 'tls-key', value: 'FILE', text: 'and this key' },
    WORKERS_OPTION,
    {
      name: 'log',
      value: 'FORMAT',
      choices: ['common', 'json', 'none'],
      text: 'a line on standard output for each answer. Default common',
    },
    DRAIN_OPTION,
  ],
  examples: [
    ['zerocopy serve', 'the current directory on http://127.0.0.1:8080/'],
    ['zerocopy serve dist -l :80 --spa --precompressed --workers 4', 'an application, to everybody'],
    [`zerocopy serve --auth "me:sha256:$(printf secret | sha256sum | cut -d' ' -f1)"`, 'with a password'],
    ['systemd-socket-activate -l 8080 zerocopy serve -l fd:3', 'a socket that somebody else listens to'],
  ],
  load: () => import('../serve.js'),
};
