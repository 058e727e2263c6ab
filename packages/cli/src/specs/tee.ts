import type { CommandSpec } from '../command.js';

/** `zerocopy tee`. */
export const teeSpec: CommandSpec = {
  name: 'tee',
  summary: 'pass standard input, or a connection, on to several files and sockets, and to standard output',
  operands: '[DESTINATION…]',
  count: [0, Number.POSITIVE_INFINITY],
  completes: 'files',
  description: [
    'Copies what comes to standard output and to each DESTINATION: a file, tcp://host:port or unix:path. Where input and destinations are pipes, sockets and files, the kernel shares the pages and nothing is copied through memory.',
    'A destination that fails is given up and told; the others go on, and the exit status is 1. The slowest sets the pace, unless --drop-after is given.',
  ],
  options: [
    { name: 'append', short: 'a', text: 'append to files; their bytes pass through memory' },
    { name: 'connect', value: 'ADDRESS', text: 'read from tcp://host:port or unix:path instead of standard input' },
    { name: 'listen', short: 'l', value: 'ADDRESS', text: 'read from the first connection at this address instead' },
    { name: 'no-stdout', short: 'n', text: 'nothing to standard output' },
    { name: 'drop-after', value: 'TIME', text: 'give up a destination that keeps the others waiting for so long' },
    { name: 'quiet', short: 'q', text: 'no summary' },
    { name: 'json', text: 'the summary as JSON, on standard error as ever' },
  ],
  examples: [
    ['tar c src | zerocopy tee backup.tar | sha256sum', 'a file, and the next program'],
    ['pg_dump db | zerocopy tee -n dump.sql tcp://backup:9000', 'a file and a host'],
    ['zerocopy tee -l :9000 received.bin | wc -c', 'what comes by a connection'],
  ],
  load: () => import('../tee.js'),
};
