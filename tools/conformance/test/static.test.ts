/** A sample of `npm run conformance -- static`. */

import { Client, MODES } from '@zerocopy/conformance/static/client';
import { aborts, fuzz, races } from '@zerocopy/conformance/static/hostile';
import { points } from '@zerocopy/conformance/static/points';
import { startNode } from '@zerocopy/conformance/static/running';
import { makeSite } from '@zerocopy/conformance/static/site';
import test from 'ava';

test.serial('every point of the table, in every way of using a connection', async (t) => {
  const site = makeSite();
  const server = await startNode('serveFiles', site.root);
  for (const [at, point] of points.entries()) {
    const client = new Client(server.port, MODES[at % MODES.length] as (typeof MODES)[number]);
    const right = await point.right({ client, site, ask: (target, asking) => client.ask(target, asking) });
    t.true(right, `${point.subject}: ${point.name} (${client.mode})`);
    client.close();
  }
  await server.stop();
  site.remove();
});

test.serial('nonsense, races and downloads given up', async (t) => {
  const site = makeSite();
  const server = await startNode('serveFiles', site.root);
  const seed = Date.now() % 2 ** 31;
  t.log(`seed ${seed}`);
  t.deepEqual(await fuzz(server, 300, seed), []);
  t.deepEqual(await races(server, site, 100, 0), []);
  t.deepEqual(await aborts(server, 60, 0), []);
  await server.stop();
  site.remove();
});

test.serial('a server that is wrong is found out', async (t) => {
  const site = makeSite();
  const server = await startNode('Hono serveStatic', site.root);
  const client = new Client(server.port, 'close');
  const multipart = points.find(({ name }) => name === 'multipart/byteranges');
  t.false(await multipart?.right({ client, site, ask: (target, asking) => client.ask(target, asking) }));
  await server.stop();
  site.remove();
});
