/** What the demo uses of the bench. */
export { CLIENT_CORE, ContestantServer, canPin, type Server } from './contestant-server.js';
export { type Contestant, contestantNamed, contestants } from './contestants.js';
export { cpuSecondsPerGB, GB, hashOfDownload, measure, type Sample, warmUp } from './measure.js';
