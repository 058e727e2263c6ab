/**
 * `npm run conformance -- cli [--minutes N] [--connections N] [--kills N]`: the command as people run it. serve and proxy are
 * restarted under load behind a socket that is not theirs; cp is killed, and meets a full disk and files that it may not read.
 */
import { parseArgs } from 'node:util';
import { fullDisk, kills, unreadable } from './copying.js';
import { type Outcome, restartProxy, restartServe } from './restart.js';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '0.3' },
    connections: { type: 'string', default: '1000' },
    kills: { type: 'string', default: '12' },
  },
});

function tell(title: string, findings: readonly string[] | undefined): void {
  if (findings === undefined) console.log(`${title}: cannot be tried here`);
  else if (findings.length === 0) console.log(`${title}: nothing wrong`);
  else {
    process.exitCode = 1;
    console.log(`${title}: ${findings.length} findings\n  ${findings.slice(0, 20).join('\n  ')}`);
  }
}

const load = { connections: Number(values.connections), milliseconds: Number(values.minutes) * 60_000 };
const wrongIn = ({ requests, failures, statuses }: Outcome): string[] => [
  ...failures,
  ...statuses.filter((status) => status !== 0).map((status) => `an instance ended with ${status}`),
  ...(requests < load.connections ? [`only ${requests} requests were made`] : []),
];

for (const [name, restart] of [
  ['serve', restartServe],
  ['proxy', restartProxy],
] as const) {
  const outcome = await restart(load);
  const title = `${name}: ${load.connections} connections for ${values.minutes} minutes, ${outcome.requests} requests`;
  tell(`${title}, a restart`, wrongIn(outcome));
}
tell(`cp: ${values.kills} times stopped by a signal`, await kills(Number(values.kills)));
tell('cp: a full disk', fullDisk());
tell('cp: what may not be read', unreadable());
