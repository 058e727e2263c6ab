/**
 * Whether a method of a stream is Node's own code. The kernel path goes around `write` and what it calls; a program
 * that has put its own code there (a tracer, compression middleware, a test) counts on being called for every chunk.
 *
 * A reference kept at import would take for Node's own whatever had been put there before, as tracers are: they are loaded
 * first. So each function is compared once with the source text of Node's library, wherever it came from and whenever.
 */

/** Where the streams that bytes leave and arrive by are defined. */
const MODULES = [
  '_http_outgoing',
  '_http_incoming',
  '_http_server',
  '_http_client',
  'net',
  'tty',
  'internal/streams/writable',
  'internal/streams/readable',
  'internal/streams/duplex',
  'internal/fs/streams',
] as const;

type Sources = readonly string[];
type Method = (...args: never[]) => unknown;

const textOf = Function.prototype.toString;

/** Null: Node does not tell, with its permission model in force, for instance. */
let sources: Sources | null | undefined;

/** The text of Node's own library. It is in the binary; to have it shown takes 0.7 ms, once for each thread. */
function librarySources(): Sources | null {
  const { noDeprecation } = process;
  try {
    // Deprecated only in the documentation (DEP0111). The program is not to be warned of a use that is not its own.
    process.noDeprecation = true;
    const binding = (process as unknown as { binding(name: string): Record<string, unknown> }).binding('natives');
    const texts = MODULES.map((name) => binding[name]).filter((text): text is string => typeof text === 'string');
    return texts.length > 0 ? texts : null;
  } catch {
    return null;
  } finally {
    if (noDeprecation === undefined) Reflect.deleteProperty(process, 'noDeprecation');
    else process.noDeprecation = noDeprecation;
  }
}

/** Whether Node's library defines a method of this name by this very text. */
function isDefinedByNode(method: Method, name: string): boolean {
  if (sources === undefined) sources = librarySources();
  const text = Reflect.apply(textOf, method, []) as string;
  // A Proxy or a bound function has no text of its own.
  if (sources === null) return !text.endsWith('{ [native code] }');
  // A text alone could be anywhere, as `() => {}` is: it has to be where a method of this name is defined.
  const assigned = `.prototype.${name} = ${text}`;
  const declared = text.startsWith(`function ${name}(`) ? `\n${text}\n` : assigned;
  const inClass = text.startsWith(`${name}(`) ? `\n  ${text}\n` : assigned;
  return sources.some((source) => source.includes(assigned) || source.includes(declared) || source.includes(inClass));
}

const known = new WeakMap<Method, boolean>();

function isOriginal(method: unknown, name: string): boolean {
  if (typeof method !== 'function') return method === undefined || method === null; // not every stream has a _writev
  let original = known.get(method as Method);
  if (original === undefined) {
    original = isDefinedByNode(method as Method, name);
    known.set(method as Method, original);
  }
  return original;
}

/**
 * The first of `methods` that is not Node's own on this stream, whether the stream has one for itself, its class
 * overrides it or the prototype in Node has been patched, at whatever time; undefined: all of them are Node's.
 *
 * Where Node does not show its sources, only what has no text (a Proxy, a bound function) is recognised.
 */
export function replacedMethod(stream: object, methods: readonly string[]): string | undefined {
  for (const name of methods) if (!isOriginal((stream as Record<string, unknown>)[name], name)) return name;
  return undefined;
}
