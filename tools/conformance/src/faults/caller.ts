/** Who called: a package of the project, or the way around it, which does its own reading and writing. */
const packages = new URL('../../', import.meta.resolve('@zerocopy/core-syscalls')).href;
const sources = packages.replace('file://', '');
/** What the text of a thread calls itself, which has no file. */
const NAMED = '@zerocopy/';

/** These files themselves, and util.promisify. */
const BETWEEN = /\/faults\/|^node:internal\/util/;

/** Whether the caller of what is put in front of a call is one of the project's packages, and not Node itself. */
export function calledByPackage(): boolean {
  const { prepareStackTrace, stackTraceLimit } = Error;
  Error.stackTraceLimit = 12;
  Error.prepareStackTrace = (_error, sites) =>
    sites.map((site) => site.getScriptNameOrSourceURL() ?? '').find((file) => file !== '' && !BETWEEN.test(file)) ?? '';
  const caller = new Error('').stack as string;
  Object.assign(Error, { prepareStackTrace, stackTraceLimit });
  return caller.startsWith(packages) || caller.startsWith(sources) || caller.startsWith(NAMED);
}

/** Whether it is Node's own file stream that reads, be it through a package's functions that it was given as its `fs`. */
export const calledByFileStream = (): boolean => new Error('').stack?.includes('node:internal/fs/streams') === true;
