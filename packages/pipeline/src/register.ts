/**
 * `node --import @zerocopy/pipeline/register app.js`, also by --require, NODE_OPTIONS and in workers: the pipes of a program
 * that has never heard of it. Loaded twice, it observes once.
 */
import { observePipes } from './hook.js';
import { observerOf } from './observer.js';
import { DEFAULT_PLAN } from './plan.js';

const kRegistered: unique symbol = Symbol.for('zerocopy.pipelineRegistered.1');
const holder = process as typeof process & { [kRegistered]?: true };

if (process.platform === 'linux' && holder[kRegistered] === undefined) {
  Object.defineProperty(holder, kRegistered, { value: true });
  observePipes(observerOf(DEFAULT_PLAN));
}
