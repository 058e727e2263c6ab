/** All scenarios, in the order in which they are run and shown. */
import type { Case, Scenario } from '../race/scenario.js';
import { cacheDrop } from './cache-drop.js';
import { call } from './call.js';
import { cold } from './cold.js';
import { copy } from './copy.js';
import { direct } from './direct.js';
import { growthOfConnections, growthOfSize, http, httpReconnect } from './http.js';
import { https } from './https.js';
import { importTime } from './import-time.js';
import { lease } from './lease.js';
import { mmapScenarios } from './mmap.js';
import { pipes } from './pipeline.js';
import { idlePairs, pingPongs, proxy } from './proxy.js';
import { staticFiles } from './static.js';
import { tcp } from './tcp.js';
import { uploads } from './upload.js';
import { waiting } from './waiting.js';

/** A scenario only ever gets its own cases back, so that all can be held as one type. */
export const scenarios: readonly Scenario<Case>[] = [
  http,
  httpReconnect,
  https,
  staticFiles,
  cold,
  waiting,
  growthOfSize,
  growthOfConnections,
  tcp,
  proxy,
  pingPongs,
  idlePairs,
  ...uploads,
  pipes,
  copy,
  direct,
  cacheDrop,
  ...mmapScenarios,
  importTime,
  call,
  lease,
];
