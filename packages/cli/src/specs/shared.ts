import type { OptionSpec } from '../command.js';

/** Of servers. */
export const WORKERS_OPTION: OptionSpec = {
  name: 'workers',
  value: 'NUMBER',
  text: 'so many processes accept from the same socket; one that dies is replaced. Default 1',
};

/** Of servers. */
export const DRAIN_OPTION: OptionSpec = {
  name: 'drain',
  value: 'TIME',
  text: 'how long connections may go on after SIGTERM or SIGINT. Default 30s',
};
