/** All families of programs, by name. */
import type { Family } from '../run.js';
import { copy } from './copy.js';
import { httpResponses } from './http.js';
import { reading } from './read.js';
import { relay } from './relay.js';
import { send } from './send.js';
import { stream } from './stream.js';
import { transfer } from './transfer.js';
import { upload } from './upload.js';
import { ways } from './ways.js';

// biome-ignore lint/suspicious/noExplicitAny: each has programs of a type of its own
export const families: readonly Family<any>[] = [
  send,
  httpResponses,
  transfer,
  upload,
  relay,
  stream,
  copy,
  reading,
  ways,
];
