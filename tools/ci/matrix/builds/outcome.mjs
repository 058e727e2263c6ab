/** What program.mjs tells, and whether it is what it should be. */
import { spawnSync } from 'node:child_process';

/** Everything by the kernel. */
export const KERNEL = {
  libc: { available: true },
  sendFile: 'sendfile',
  sendFileUnderLease: 'sendfile',
  splice: 'splice',
  copyFile: 'kernel',
  mapFile: 'mapped',
  mapFileUnderLease: 'mapped',
  acquireLease: 'held',
  pipeline: 'whole',
  installed: 'whole',
  warnings: [],
};

/** Without koffi: what the READMEs say, and one warning. */
export const DEGRADED = {
  ...KERNEL,
  libc: { available: false },
  sendFile: 'copy',
  sendFileUnderLease: 'ERR_ZEROCOPY_UNAVAILABLE',
  splice: 'copy',
  copyFile: 'copy',
  mapFile: 'copied',
  mapFileUnderLease: 'ERR_ZEROCOPY_UNAVAILABLE',
  acquireLease: 'ERR_ZEROCOPY_UNAVAILABLE',
  warnings: ['ZEROCOPY_NO_KOFFI'],
};

/** A line for the matrix. */
export function told(name, passed, reason) {
  console.log(JSON.stringify({ name, passed, ...(reason === undefined ? {} : { reason }) }));
  if (!passed) process.exitCode = 1;
}

/** How what the program has told differs from what it should. */
function differences(output, wanted) {
  const { libc, ...found } = JSON.parse(output.slice(output.indexOf('{"libc"')));
  const compared = { ...found, libc: { available: libc.available } };
  return Object.keys(wanted)
    .filter((key) => JSON.stringify(compared[key]) !== JSON.stringify(wanted[key]))
    .map((key) => `${key}: ${JSON.stringify(compared[key])} and not ${JSON.stringify(wanted[key])}`);
}

/**
 * Runs a command, and tells what came of it.
 * @param wanted what program.mjs is to tell; undefined: only that it succeeds.
 */
export function runs(name, [command, ...args], wanted, options = {}) {
  const { env, ...others } = options;
  const { stdout, stderr, status, error } = spawnSync(command, args, {
    encoding: 'utf8',
    timeout: 120_000,
    cwd: '/',
    env: { ...process.env, ...env },
    ...others,
  });
  if (status !== 0) return told(name, false, `status ${status}: ${error?.message ?? ''}\n${stdout}${stderr}`);
  const wrong = wanted === undefined ? [] : differences(stdout, wanted);
  told(name, wrong.length === 0, wrong.length === 0 ? undefined : `${wrong.join('\n')}\n${stderr}`);
}
