/** All real programs that are tried. */
import type { RealProgram } from './program.js';
import { proxying } from './proxying.js';
import { serving } from './serving.js';
import { storing } from './storing.js';

export const programs: readonly RealProgram[] = [...serving, ...proxying, ...storing];
