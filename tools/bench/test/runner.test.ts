import test from 'ava';
import { estimate, participants, runScenario } from '../dist/race/runner.js';
import { EFFORTS } from '../dist/race/scenario.js';
import { contestant, fakeScenario } from './fake-scenario.js';

const options = { effort: { ...EFFORTS.quick, rounds: 2 }, pin: false };

test('everybody is checked and warmed, then they take turns round by round', async (t) => {
  const { scenario, log } = fakeScenario();
  await runScenario(scenario, options);
  t.deepEqual(log, [
    'open',
    'enter ours',
    'enter node',
    'check ours',
    'turn ours',
    'check node',
    'turn node',
    'turn ours',
    'turn node',
    'turn ours',
    'turn node',
    'close ours',
    'close node',
    'close',
  ]);
});

test('the turn for warming up does not count', async (t) => {
  let turns = 0;
  const { scenario } = fakeScenario({ turn: () => ({ cpu: ++turns, speed: 1, rest: 1 }) });
  const [one] = (await runScenario(scenario, options)).cases;
  t.deepEqual(one?.figures.ours?.cpu?.samples, [3, 5]);
});

test('who fails the check has no turn and no figures, and it is said why', async (t) => {
  const { scenario, log } = fakeScenario({
    check(who) {
      if (who === 'node') throw new Error('other bytes arrived');
    },
  });
  const [one] = (await runScenario(scenario, options)).cases;
  t.false(log.includes('turn node'));
  t.is(one?.figures.node, undefined);
  t.is(one?.failures.node, 'other bytes arrived');
  t.is(one?.figures.ours?.cpu?.ratio, undefined);
});

test('who fails in the middle loses all figures of that case; the race goes on', async (t) => {
  let turns = 0;
  const { scenario } = fakeScenario({
    turn(who) {
      if (who === 'ours' && ++turns === 3) throw new Error('the server ended');
      return { cpu: 1, speed: 1, rest: 1 };
    },
  });
  const [one] = (await runScenario(scenario, options)).cases;
  t.is(one?.failures.ours, 'the server ended');
  t.is(one?.figures.ours, undefined);
  t.is(one?.figures.node?.cpu?.samples.length, 2);
});

test('who is not installed, or does not start, is told of and holds up nobody', async (t) => {
  const { scenario, log } = fakeScenario({
    contestants: [
      contestant('ours', { role: 'ours' }),
      contestant('absent', { version: undefined }),
      contestant('broken'),
      contestant('node'),
    ],
    enter(who) {
      if (who === 'broken') throw new Error('no port');
    },
  });
  const result = await runScenario(scenario, options);
  t.false(log.includes('enter absent'));
  t.is(result.contestants.find(({ name }) => name === 'absent')?.version, undefined);
  t.is(result.cases[0]?.failures.broken, 'did not start: no port');
  t.is(result.cases[0]?.figures.node?.cpu?.median, 1);
});

test('those who run only if they are named', (t) => {
  const { scenario } = fakeScenario({ contestants: [contestant('node'), contestant('tuned', { onlyIfNamed: true })] });
  t.deepEqual(
    participants(scenario, undefined).map(({ name }) => name),
    ['node'],
  );
  t.deepEqual(
    participants(scenario, ['tuned']).map(({ name }) => name),
    ['tuned'],
  );
});

test('progress adds up to the estimate', async (t) => {
  const { scenario } = fakeScenario();
  let sum = 0;
  await runScenario(scenario, { ...options, onProgress: (milliseconds) => (sum += milliseconds) });
  t.is(sum, estimate(scenario, options));
  t.true(sum > 0);
});
