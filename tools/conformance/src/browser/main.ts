/**
 * `npm run conformance -- browser`: the tests of serve-files in Chromium: listings, an application of one page, media with
 * ranges. They take longer than all others of the package, and are skipped in the everyday run.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const at = (path: string): string => fileURLToPath(new URL(`../../../../${path}`, import.meta.url));
const { status } = spawnSync(
  process.execPath,
  [at('node_modules/ava/entrypoints/cli.mjs'), 'dist-test/chromium.test.js'],
  { cwd: at('packages/serve-files'), stdio: 'inherit', env: { ...process.env, ZEROCOPY_BROWSER: '1' } },
);
process.exitCode = status ?? 1;
