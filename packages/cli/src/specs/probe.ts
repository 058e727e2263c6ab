import type { CommandSpec } from '../command.js';

/** `zerocopy probe`. */
export const probeSpec: CommandSpec = {
  name: 'probe',
  summary: 'what this machine can move inside the kernel, and what not, and why',
  operands: '[PATH…]',
  count: [0, Number.POSITIVE_INFINITY],
  completes: 'files',
  description: [
    'Tries every feature on throw-away descriptors and prints a table. For each PATH, a file or a directory, it says what the filesystem can do.',
  ],
  options: [{ name: 'json', text: 'print the whole report as JSON' }],
  examples: [
    ['zerocopy probe', 'the table'],
    ['zerocopy probe . /srv/films/a.mp4', 'and what can be done with files of this directory, and with that one'],
    ['zerocopy probe --json | jq .features.splice', 'one feature, for a program'],
  ],
  exits: [[3, 'partly: some feature is not available']],
  load: () => import('../probe.js'),
};
