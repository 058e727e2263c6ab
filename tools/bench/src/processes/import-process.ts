/** Imports one module, tells what that took, and ends. */
import { tell } from './reporting.js';

const [module = ''] = process.argv.slice(2);
const before = process.memoryUsage.rss();
const [startedAt, cpuBefore] = [performance.now(), process.cpuUsage()];
await import(module);
const milliseconds = performance.now() - startedAt;
const { user, system } = process.cpuUsage(cpuBefore);
tell({ values: { milliseconds, cpu: (user + system) / 1000, memory: (process.memoryUsage.rss() - before) / 2 ** 20 } });
process.disconnect();
