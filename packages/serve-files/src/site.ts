/** Where files are looked for, by which rules. */
import { libcStatus } from '@zerocopy/core-syscalls';
import { CachedRoot } from './cached-root.js';
import { feature } from './feature.js';
import { KernelRoot } from './kernel-root.js';
import { rootPath, type ServeFilesOptions, type Settings, settingsOf } from './options.js';
import type { Site } from './plan.js';
import { PortableRoot } from './portable-root.js';
import type { Root, SymlinkPolicy } from './root.js';

function openRoot(path: string, symlinks: SymlinkPolicy): Root {
  const kernel = libcStatus().available && feature('openat2').available;
  return kernel ? new KernelRoot(path, symlinks) : new PortableRoot(path, symlinks);
}

const cachedRoot = (path: string, { symlinks, cache }: Settings): Root =>
  new CachedRoot(openRoot(path, symlinks), cache);

/** @throws {TypeError | RangeError} for invalid options, or a root that is no path. */
export function createSite(root: string | URL, options: ServeFilesOptions): Site {
  const path = rootPath(root);
  const settings = settingsOf(options);
  return { root: cachedRoot(path, settings), settings };
}

/**
 * For functions that are given root and options anew each time: roots stay open, with the files that are open in them, one for
 * each path and rule. A `cache` that is asked for is one as long as its options are the same object.
 */
const known = new Map<string, Root>();
const KNOWN_MAX = 16;
const settled = new WeakMap<ServeFilesOptions, Settings>();
const cached = new WeakMap<ServeFilesOptions, Map<string, Site>>();
const DEFAULTS: ServeFilesOptions = Object.freeze({});

/** {@link createSite} with what an earlier call has opened. An options object that is passed again is taken to be unchanged. */
export function knownSite(root: string | URL, options: ServeFilesOptions = DEFAULTS): Site {
  const path = rootPath(root);
  const settings = settled.get(options) ?? settingsOf(options);
  settled.set(options, settings);
  const { symlinks, cache } = settings;
  if (cache?.eager) {
    const sites = cached.get(options) ?? new Map<string, Site>();
    cached.set(options, sites);
    const site = sites.get(path) ?? { root: cachedRoot(path, settings), settings };
    sites.set(path, site);
    return site;
  }
  const key = `${symlinks}:${cache !== undefined}:${path}`;
  const opened = known.get(key) ?? cachedRoot(path, settings);
  known.delete(key);
  known.set(key, opened);
  const [oldest] = known.keys();
  if (known.size > KNOWN_MAX && oldest !== undefined) known.delete(oldest);
  return { root: opened, settings };
}
