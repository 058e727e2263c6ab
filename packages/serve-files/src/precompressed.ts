/** Variants of a file that a build has compressed beside it: `app.js.br`. */
import { negotiatorOf } from './negotiator.js';

/** The content codings that are known, by the names of HTTP. */
export type Encoding = 'zstd' | 'br' | 'gzip';

/** What @types/negotiator does not know yet: since 1.0 it can be told what decides between equals. */
interface WithPreference {
  encodings(available: string[], options: { preferred: string[] }): string[];
}

/** In the order in which they are preferred where a client does not care. */
export const ENCODINGS: readonly Encoding[] = ['zstd', 'br', 'gzip'];

const SUFFIX: Readonly<Record<Encoding, string>> = { zstd: '.zst', br: '.br', gzip: '.gz' };

export const variantPath = (path: string, encoding: Encoding): string => `${path}${SUFFIX[encoding]}`;

/**
 * The encodings that the client prefers to the file itself, best first (RFC 9110, 12.5.3).
 * @param offered in the server's order, which decides between equals.
 */
export function acceptedEncodings(
  acceptEncoding: string | undefined,
  offered: readonly Encoding[],
): readonly Encoding[] {
  if (acceptEncoding === undefined || acceptEncoding === '') return [];
  const order = [...offered, 'identity'];
  const negotiator: WithPreference = negotiatorOf({ 'accept-encoding': acceptEncoding });
  const accepted = negotiator.encodings(order, { preferred: order }) as (Encoding | 'identity')[];
  const identity = accepted.indexOf('identity');
  return (identity < 0 ? accepted : accepted.slice(0, identity)) as Encoding[];
}
