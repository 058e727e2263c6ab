#!/usr/bin/env node
/** The program. The first SIGINT, SIGTERM or SIGHUP asks the command to stop, the second ends it at once. */
import { Interruption, run, SIGNALS } from './index.js';
import { DRAIN } from './server/drain-message.js';

const controller = new AbortController();
for (const name of SIGNALS) {
  process.on(name, () => {
    const reason = new Interruption(name);
    if (controller.signal.aborted) process.exit(reason.status);
    controller.abort(reason);
  });
}
// Of a worker: its primary asks by a message, since a signal may reach all processes of a terminal as well.
process.on('message', (message) => {
  if (message === DRAIN && !controller.signal.aborted) controller.abort(new Interruption('SIGTERM'));
});
// A reader that has gone away (`zerocopy probe | head -1`) is no failure.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}
const { stdout, stderr, env } = process;
void run(process.argv.slice(2), {
  get stdin() {
    return process.stdin; // made on its first use
  },
  stdout,
  stderr,
  env,
  signal: controller.signal,
}).then((status) => {
  // Node has a worker exit with status 0 as soon as it is disconnected: this is said last.
  process.once('exit', () => {
    process.exitCode = status;
  });
  process.exitCode = status;
  if (process.connected) process.disconnect();
});
