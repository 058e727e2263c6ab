/**
 * `npm run conformance -- cli [--only ROW …] [--minutes N] [--connections N] [--cases N] [--seed N] [--kills N] [--starts N]`: the command as people
 * run it. Rows: start, matrix (what splice-pipe's proxy has to do, through the command), serve and proxy (restarted under load
 * behind a socket that is not theirs), gnu (cp beside GNU cp), kills, disk and unreadable (cp where it can go wrong).
 */
import { parseArgs } from 'node:util';
import { fullDisk, kills, unreadable } from './copying.js';
import { besideGnu } from './gnu.js';
import { proxyMatrix } from './proxying.js';
import { type Outcome, restartProxy, restartServe } from './restart.js';
import { starting } from './starting.js';

const { values } = parseArgs({
  options: {
    only: { type: 'string', multiple: true },
    minutes: { type: 'string', default: '0.3' },
    connections: { type: 'string', default: '1000' },
    cases: { type: 'string', default: '150' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    kills: { type: 'string', default: '40' },
    starts: { type: 'string', default: '9' },
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

async function underLoad(name: string, restart: typeof restartServe): Promise<void> {
  const outcome = await restart(load);
  const title = `${name}: ${load.connections} connections for ${values.minutes} minutes, ${outcome.requests} requests`;
  tell(`${title}, a restart`, wrongIn(outcome));
}

const rows: Readonly<Record<string, () => Promise<void>>> = {
  async start() {
    const { text, findings } = await starting(Number(values.starts));
    tell(text, findings);
  },
  async matrix() {
    const { tried, findings } = await proxyMatrix();
    tell(`proxy: ${tried} behaviours of splice-pipe's proxy through the command`, findings);
  },
  serve: () => underLoad('serve', restartServe),
  proxy: () => underLoad('proxy', restartProxy),
  async gnu() {
    const seed = Number(values.seed);
    tell(
      `cp: ${values.cases} random trees and options beside GNU cp, from seed ${seed}`,
      besideGnu(Number(values.cases), seed),
    );
  },
  async kills() {
    tell(`cp: ${values.kills} times stopped by a signal`, await kills(Number(values.kills)));
  },
  async disk() {
    tell('cp: a full disk', fullDisk());
  },
  async unreadable() {
    tell('cp: what may not be read', unreadable());
  },
};

const unknown = values.only?.filter((name) => !Object.hasOwn(rows, name)) ?? [];
if (unknown.length > 0) {
  console.log(`no row '${unknown[0]}': there are ${Object.keys(rows).join(', ')}`);
  process.exitCode = 2;
} else {
  for (const [name, row] of Object.entries(rows)) {
    if (values.only === undefined || values.only.includes(name)) await row();
  }
}
