import type { CommandSpec } from '../command.js';
import { DRAIN_OPTION, WORKERS_OPTION } from './shared.js';

/** `zerocopy proxy`. */
export const proxySpec: CommandSpec = {
  name: 'proxy',
  summary: 'pass connections on to one or several targets, inside the kernel',
  operands: 'LISTEN TARGET…',
  count: [2, Number.POSITIVE_INFINITY],
  completes: 'nothing',
  description: [
    'Accepts connections at LISTEN and joins each to a TARGET. LISTEN: tcp://host:port, :port (all interfaces), unix:path, fd:3 (systemd socket activation). TARGET: tcp://host:port, host:port, unix:path.',
    'A target that cannot be reached is passed over, and tried last until it answers again. A half-close is passed on; after a failure both sides are reset. SIGTERM or SIGINT drains: connections go on until they end, at most for the time of --drain.',
  ],
  options: [
    {
      name: 'balance',
      value: 'HOW',
      choices: ['round-robin', 'least-connections'],
      text: 'whose turn it is. Default round-robin; in each worker by itself',
    },
    {
      name: 'health',
      value: 'TIME',
      text: 'how often each target is connected to, to see whether it answers. Default 5s for several targets; 0: never',
    },
    { name: 'connect-timeout', value: 'TIME', text: 'how long a target may take to accept. Default 10s' },
    { name: 'max-conn', value: 'NUMBER', text: 'connections at once, shared out among the workers; more are closed' },
    {
      name: 'idle',
      value: 'TIME',
      text: 'reset connections without a byte in either direction for so long. Default: never',
    },
    { name: 'half-close', value: 'TIME', text: 'the same, where one direction has ended. Default 60s; 0: never' },
    { name: 'proxy-in', text: 'connections begin with a PROXY protocol header, of version 1 or 2; others are reset' },
    {
      name: 'proxy-out',
      value: 'VERSION',
      choices: ['v1', 'v2'],
      text: 'tell the target who is connected, by such a header: with --proxy-in, whom that one named',
    },
    { name: 'admin', value: 'ADDRESS', text: 'answer GET /metrics there, as Prometheus text: all workers together' },
    WORKERS_OPTION,
    DRAIN_OPTION,
  ],
  examples: [
    ['zerocopy proxy :8080 127.0.0.1:9000', 'one target'],
    [
      'zerocopy proxy tcp://[::]:443 10.0.0.1:443 10.0.0.2:443 --balance least-connections --idle 5m',
      'two, the less busy one first',
    ],
    ['zerocopy proxy :5432 unix:/run/postgresql/.s.PGSQL.5432 --max-conn 100', 'a unix socket, for others'],
    ['zerocopy proxy fd:3 app:80 --proxy-out v2 --admin unix:/run/proxy.sock', 'behind systemd, with metrics'],
  ],
  load: () => import('../proxy.js'),
};
