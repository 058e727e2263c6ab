/** What the command, the server and its clients tell each other. */
import type { Sample } from './samples.js';

/** Where the server can be reached. */
export interface Ports {
  readonly http: number;
  readonly raw: number;
  readonly lasting: number;
  readonly proxy: number;
  readonly proxyAborting: number;
  readonly relay: number;
  readonly tee: number;
  readonly teeAborting: number;
}

/** Something that is made to leak, so that it can be seen that a leak is seen. */
export const LEAKS = ['descriptors', 'listeners', 'timers', 'mappings'] as const;
export type Leak = (typeof LEAKS)[number];

export interface ServerOptions {
  readonly seed: number;
  readonly directory: string;
  /** Port of a server that sends back what it gets. */
  readonly echo: number;
  readonly leak?: Leak | undefined;
}

export interface ClientOptions {
  readonly seed: number;
  /** Of the bytes that the server serves. */
  readonly contentSeed: number;
  readonly ports: Ports;
}

/** What has happened, by name. */
export type Counts = Record<string, number>;

export interface ServerAnswers {
  sample: Omit<Sample, 'at' | 'quiet'>;
  /** Resolves when nothing is under way. */
  quiet: undefined;
  counts: Counts;
}

export interface ClientAnswers {
  go: undefined;
  /** Resolves when all have ended what they were doing. */
  pause: undefined;
  counts: Counts;
}

export type Answer<Answers> = { readonly id: number } & (
  | { readonly answer: Answers[keyof Answers] }
  | { readonly error: string }
);

/** Told without being asked. */
export type Event<Ready> = { readonly ready: Ready } | { readonly wrong: string };
