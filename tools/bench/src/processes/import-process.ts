/** Imports one module, tells what that took, and ends. */
import { tell } from './reporting.js';

const [module = ''] = process.argv.slice(2);
const before = process.memoryUsage.rss();
const startedAt = performance.now();
await import(module);
const milliseconds = performance.now() - startedAt;
tell({ values: { milliseconds, memory: (process.memoryUsage.rss() - before) / 2 ** 20 } });
process.disconnect();
