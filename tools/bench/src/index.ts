/** What the demo uses of the bench. */
export { cpuSecondsPerGB, GB, measure, type Sample, warmUp } from './load/measure.js';
export { hashOfDownload } from './load/polling-client.js';
export { type HttpContestant, httpContestant, httpContestants } from './processes/http-contestants.js';
export { NodeServer } from './servers/node-server.js';
export { canPin, pinClient, type Server } from './servers/server.js';
