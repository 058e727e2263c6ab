/**
 * The native TypeScript compiler, by its place: the TypeScript 6 whose programming interface the checks of
 * documentation and of user programs need installs a `tsc`, too, and `node_modules/.bin` has room for one.
 */
import '../../node_modules/typescript/lib/tsc.js';
