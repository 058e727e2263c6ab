/** All commands: the one table from which the help, the completions and the man page are made. */
import type { CommandSpec } from './command.js';
import { benchSpec } from './specs/bench.js';
import { cpSpec } from './specs/cp.js';
import { completionSpec, manSpec } from './specs/documents.js';
import { probeSpec } from './specs/probe.js';
import { proxySpec } from './specs/proxy.js';
import { serveSpec } from './specs/serve.js';
import { teeSpec } from './specs/tee.js';

export const commands: readonly CommandSpec[] = [
  probeSpec,
  serveSpec,
  proxySpec,
  cpSpec,
  teeSpec,
  benchSpec,
  completionSpec,
  manSpec,
];
