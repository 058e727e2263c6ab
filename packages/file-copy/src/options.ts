/** Validation of what callers pass, in one place: what was expected, and what came. */
import { inspect } from 'node:util';

const received = (value: unknown): string => `Received ${inspect(value, { depth: 0 })}`;

const invalid = (message: string, value: unknown, code = 'ERR_INVALID_ARG_TYPE'): TypeError =>
  Object.assign(new TypeError(`${message}. ${received(value)}`), { code });

export function validateCopyArguments(source: unknown, destination: unknown, options: unknown): void {
  for (const [name, path] of Object.entries({ source, destination })) {
    if (typeof path === 'string' || Buffer.isBuffer(path) || path instanceof URL) continue;
    throw invalid(`'${name}' must be a string, Buffer or URL`, path);
  }
  if (typeof options !== 'object' || options === null) throw invalid("'options' must be an object", options);
  const { reflink, exclusive, onProgress, signal } = options as Record<string, unknown>;
  if (reflink !== undefined && !['auto', 'always', 'never'].includes(reflink as string)) {
    throw invalid("'reflink' must be one of 'auto', 'always', 'never'", reflink, 'ERR_INVALID_ARG_VALUE');
  }
  if (exclusive !== undefined && typeof exclusive !== 'boolean')
    throw invalid("'exclusive' must be a boolean", exclusive);
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw invalid("'onProgress' must be a function", onProgress);
  }
  if (signal !== undefined && !(signal instanceof AbortSignal))
    throw invalid("'signal' must be an AbortSignal", signal);
}
