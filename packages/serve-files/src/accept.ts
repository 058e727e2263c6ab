/** Which media type a client prefers (RFC 9110, 12.5.1). */
import { negotiatorOf } from './negotiator.js';

/** The one of `types` that is preferred; the first where the client has no preference, undefined where it takes none. */
export function preferredType(accept: string | undefined, types: readonly string[]): string | undefined {
  return accept === undefined ? types[0] : negotiatorOf({ accept }).mediaTypes([...types])[0];
}

/** Whether `type` is named and not only covered by a wildcard: a browser that navigates names text/html, fetch() does not. */
export function explicitlyAccepts(accept: string | undefined, type: string): boolean {
  return accept !== undefined && negotiatorOf({ accept }).mediaTypes().includes(type);
}
