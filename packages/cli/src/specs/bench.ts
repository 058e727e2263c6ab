import type { CommandSpec } from '../command.js';

/** `zerocopy bench`. */
export const benchSpec: CommandSpec = {
  name: 'bench',
  summary: 'a short race on this machine: a file over HTTP, by Node, zerocopy and nginx',
  operands: '',
  count: [0, 0],
  completes: 'nothing',
  description: [
    'Serves a warm file of each size over loopback HTTP, one connection that is kept alive, and says what a request takes of the CPU of the server (user and system), and how fast the bytes come. Each server has a process of its own; they take turns, and what is told are medians.',
    'It is short, and whatever else the machine does is in it: it shows what to expect here, not which of two that are close is the faster one.',
  ],
  options: [
    { name: 'size', value: 'BYTES', multiple: true, text: 'a size of the file. Default 64K, 1M and 16M' },
    { name: 'rounds', value: 'NUMBER', text: 'turns of each server. Default 5' },
    { name: 'turn', value: 'TIME', text: 'how long a turn takes. Default 200ms' },
    {
      name: 'patience',
      value: 'TIME',
      text: 'a server of whose answer not a byte has come for so long ends the race. Default 10s, which each has to begin as well',
    },
    { name: 'quiet', short: 'q', text: 'no progress' },
    { name: 'json', text: 'print the figures of all turns as JSON on standard output' },
  ],
  examples: [
    ['zerocopy bench', 'about 25 seconds'],
    ['zerocopy bench --size 4K --size 256M --rounds 15', 'other sizes, and surer'],
    ['zerocopy bench --json > figures.json', 'for programs'],
  ],
  load: () => import('../bench.js'),
};
