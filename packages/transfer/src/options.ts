/** Options as they are given, which may be by anybody: an object of somebody else's, with getters, or out of JSON. */
import { inspect } from 'node:util';

/**
 * The options named `names`, each read once, inherited ones included: what has been validated is what is used, whatever
 * a getter would answer the next time. Those that are undefined are left out.
 *
 * @throws {TypeError} ERR_INVALID_ARG_TYPE if `options` is no object.
 */
export function readOptions<Options extends object>(
  options: unknown,
  names: readonly (keyof Options & string)[],
): Options {
  if (typeof options !== 'object' || options === null) {
    const message = `'options' must be an object. Received ${inspect(options, { depth: 0 })}`;
    throw Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_TYPE' });
  }
  const read: Partial<Options> = {};
  for (const name of names) {
    const value = (options as Options)[name];
    if (value !== undefined) read[name] = value;
  }
  return read as Options;
}
