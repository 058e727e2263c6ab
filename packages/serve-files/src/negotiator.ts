/** What a request prefers, by the package negotiator. */
import type Negotiator from 'negotiator';
import type * as Lazy from './negotiator.lazy.js';

let loaded: typeof Lazy | undefined;

/** @param headers by names in lower case. */
export function negotiatorOf(headers: Readonly<Record<string, string | undefined>>): Negotiator {
  loaded ??= require('./negotiator.lazy.js') as typeof Lazy;
  return new loaded.Negotiator({ headers });
}
