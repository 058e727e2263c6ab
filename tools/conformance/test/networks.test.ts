/** Two hosts on bad networks: the short form of `networks/main.js`; and that it can fail, and leaves nothing behind. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { conditions, netemArguments } from '@zerocopy/conformance/networks/conditions';
import { namespacesPermitted } from '@zerocopy/conformance/networks/namespaces';
import { judge } from '@zerocopy/conformance/networks/passage';
import { QUICK } from '@zerocopy/conformance/networks/report';
import { runNetworks } from '@zerocopy/conformance/networks/run';
import { allWays } from '@zerocopy/conformance/ways/index';
import { feature } from '@zerocopy/core-syscalls';
import { temporaryDirectory } from '@zerocopy/testing/files';
import test, { type TestFn } from 'ava';

const MAIN = createRequire(import.meta.url).resolve('@zerocopy/conformance/networks/main');
const permission = namespacesPermitted();
const [sendfile, splice] = [feature('sendfile'), feature('splice')];
const obstacle = !permission.permitted
  ? permission.reason
  : !sendfile.available
    ? sendfile.reason
    : splice.available
      ? undefined
      : splice.reason;
const networkTest = (obstacle === undefined ? test.serial : test.serial.skip) as TestFn;
const why = obstacle === undefined ? '' : ` (${obstacle})`;

networkTest(
  `two hosts, clean and bad links, a stall, a link that goes down: the same bytes on both${why}`,
  async (t) => {
    t.timeout(180_000);
    const seed = Math.floor(Math.random() * 2 ** 31);
    const { link, rows } = await runNetworks({ ...QUICK, seed });
    t.log(`${link}; seed ${seed}`);
    t.deepEqual(
      rows.filter(({ faults }) => faults.length > 0),
      [],
    );
    const under = (condition: string): readonly string[] => rows.find((row) => row.condition === condition)?.what ?? [];
    for (const condition of ['clean', 'all of them', 'receiver stalled', 'link down, then up']) {
      t.deepEqual(under(condition), under('clean'), 'the same ways under every condition');
    }
    for (const way of allWays.filter(({ name }) => / tcp |response|upload/.test(name))) {
      t.true(under('clean').includes(way.name), way.name);
    }
    t.is(rows.filter(({ condition }) => condition === 'link down for good').length, 10);
  },
);

networkTest(`ended in the middle it leaves no process, and so no namespace, and no file${why}`, async (t) => {
  t.timeout(180_000);
  const directory = temporaryDirectory(undefined, 'networks-test');
  const mark = `ZEROCOPY_NETWORKS_TEST=${process.pid}-${Date.now()}`;
  const [name, value] = mark.split('=') as [string, string];
  const child = spawn(process.execPath, [MAIN, '--quick'], {
    env: { ...process.env, TMPDIR: directory, [name]: value },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  await once(child.stderr, 'data'); // the first line of results
  t.true(marked(mark).length >= 4, 'the command, the laboratory and two hosts');
  child.kill('SIGTERM');
  const [code] = await once(child, 'close');
  t.is(code, 128 + 15);
  t.deepEqual(readdirSync(directory), []);
  // They end with their channels, each by itself.
  for (const deadline = Date.now() + 20_000; marked(mark).length > 0 && Date.now() < deadline; ) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  t.deepEqual(marked(mark), []);
});

/** Processes that have this in their environment. */
function marked(mark: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/environ`, 'latin1').includes(mark);
    } catch {
      return false; // ended meanwhile, or somebody else's
    }
  });
}

const tc = permission.permitted && spawnSync('tc', ['-V']).error === undefined;
const tcTest = (tc ? test : test.skip) as TestFn;

tcTest(`tc takes the arguments for netem${tc ? '' : ' (needs namespaces and tc)'}`, (t) => {
  if (!permission.permitted) return;
  for (const { name, impairment } of conditions) {
    const args = [...permission.unshare, 'tc', 'qdisc', 'replace', 'dev', 'lo', 'root', 'netem'];
    const { status, stderr } = spawnSync('unshare', [...args, ...netemArguments(impairment)], { encoding: 'utf8' });
    // tc has read them all before it asks the kernel, which may have no netem.
    t.true(status === 0 || /kind is unknown/.test(stderr), `${name}: ${stderr}`);
  }
});

test('a difference, a failure, a copy and an absence are faults', (t) => {
  const [clean, , slow] = conditions as [(typeof conditions)[0], unknown, (typeof conditions)[0]];
  const content = Buffer.from('bytes');
  const proxy = { name: 'proxy' };
  const moved = { bytes: 5, received: content, method: 'splice' };
  t.deepEqual(judge(proxy, [moved, moved], content, clean), []);
  t.regex(judge(proxy, [{ ...moved, received: Buffer.from('bites') }], content, clean).join(), /wrong ones/);
  t.regex(judge(proxy, [{ ...moved, bytes: 4 }], content, clean).join(), /4 of 5 bytes/);
  const error = Object.assign(new Error('gone'), { code: 'ECONNRESET' });
  t.regex(judge(proxy, [{ ...moved, error }], content, clean).join(), /gone/);
  t.regex(judge(proxy, [], content, clean).join(), /nothing/);
  const little = 'what came was too little for splice to be worth while, or in user space already';
  const copied = { ...moved, method: 'copy', fallbackReason: little };
  t.regex(judge(proxy, [copied], content, clean).join(), /copied: what came/);
  t.deepEqual(judge(proxy, [copied], content, slow), []);
  t.deepEqual(judge({ ...proxy, copied: true }, [copied], content, clean), []);
  t.regex(judge(proxy, [{ ...copied, fallbackReason: 'refused' }], content, slow).join(), /copied: refused/);
  t.regex(judge({ name: 'sendFile' }, [copied], content, slow).join(), /copied: what came/);
});
