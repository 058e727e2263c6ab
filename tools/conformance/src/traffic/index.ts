/** All of it. */
import { sendTraffic } from './send.js';
import type { Traffic } from './traffic.js';

export const allTraffic: readonly Traffic[] = [...sendTraffic];
