/** All of it. */
import { copyTraffic } from './copy.js';
import { memoryTraffic } from './memory.js';
import { sendTraffic } from './send.js';
import { spliceTraffic } from './splice.js';
import type { Traffic } from './traffic.js';

export { copyTraffic, memoryTraffic, sendTraffic, spliceTraffic };

export const allTraffic: readonly Traffic[] = [...sendTraffic, ...spliceTraffic, ...copyTraffic, ...memoryTraffic];
