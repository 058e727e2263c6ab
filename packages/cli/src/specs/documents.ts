import type { CommandSpec } from '../command.js';

/** The shells that completions are made for. */
export const SHELLS = ['bash', 'zsh', 'fish'] as const;

/** `zerocopy completion`. */
export const completionSpec: CommandSpec = {
  name: 'completion',
  summary: 'print completions for bash, zsh or fish',
  operands: 'SHELL',
  count: [1, 1],
  completes: 'nothing',
  description: ['Prints a script that completes commands and options in SHELL: bash, zsh or fish.'],
  options: [],
  examples: [
    ['source <(zerocopy completion bash)', 'in ~/.bashrc'],
    ['source <(zerocopy completion zsh)', 'in ~/.zshrc, after compinit'],
    ['zerocopy completion fish > ~/.config/fish/completions/zerocopy.fish', 'once'],
  ],
  load: () => import('../completion.js'),
};

/** `zerocopy man`. */
export const manSpec: CommandSpec = {
  name: 'man',
  summary: 'print the manual page',
  operands: '',
  count: [0, 0],
  completes: 'nothing',
  description: [
    'Prints zerocopy(1) in the language of man(7). npm installs it where the package is installed globally.',
  ],
  options: [],
  examples: [['zerocopy man | man -l -', 'read it']],
  load: () => import('../man.js'),
};
