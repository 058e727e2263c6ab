/** `npm run bench`: a race of the packages against what people would pick instead. */
import { run } from './command.js';

process.exitCode = await run(process.argv.slice(2));
