/** All of it. */
import { sendTraffic } from './send.js';
import { spliceTraffic } from './splice.js';
import type { Traffic } from './traffic.js';

export const allTraffic: readonly Traffic[] = [...sendTraffic, ...spliceTraffic];
