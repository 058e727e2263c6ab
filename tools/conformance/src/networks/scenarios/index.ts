/** All scenarios, in the order of the table. */
import { httpSendFile, httpStream } from './http.js';
import { bothDirections } from './proxy.js';
import { rawSocket } from './raw-socket.js';
import { spliceByLength, spliceStream } from './relay.js';
import type { Scenario } from './scenario.js';
import { teeToThree } from './tee.js';
import { uploads } from './upload.js';

export const scenarios: readonly Scenario[] = [
  httpStream,
  httpSendFile,
  rawSocket,
  bothDirections,
  uploads,
  teeToThree,
  spliceStream,
  spliceByLength,
];
