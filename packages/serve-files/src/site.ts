/** Where files are looked for, by which rules. */
import { libcStatus } from '@zerocopy/core-syscalls';
import { feature } from './feature.js';
import { KernelRoot } from './kernel-root.js';
import { OpenFileCache } from './open-file-cache.js';
import { rootPath, type ServeFilesOptions, type Settings, settingsOf } from './options.js';
import type { Site } from './plan.js';
import { PortableRoot } from './portable-root.js';
import type { Root, SymlinkPolicy } from './root.js';

function openRoot(path: string, symlinks: SymlinkPolicy): Root {
  const kernel = libcStatus().available && feature('openat2').available;
  return kernel ? new KernelRoot(path, symlinks) : new PortableRoot(path, symlinks);
}

function siteOf(path: string, settings: Settings): Site {
  const root = openRoot(path, settings.symlinks);
  return { root: settings.cache === undefined ? root : new OpenFileCache(root, settings.cache), settings };
}

/** @throws {TypeError | RangeError} for invalid options, or a root that is no path. */
export function createSite(root: string | URL, options: ServeFilesOptions): Site {
  return siteOf(rootPath(root), settingsOf(options));
}

/** For functions that are given root and options anew each time: roots stay open, one for each path and rule. */
const known = new Map<string, Root>();
const KNOWN_MAX = 16;
const settled = new WeakMap<ServeFilesOptions, Settings>();
const cached = new WeakMap<ServeFilesOptions, Map<string, Site>>();
const DEFAULTS: ServeFilesOptions = Object.freeze({});

/**
 * {@link createSite} with what an earlier call has opened. An options object that is passed again is taken to be unchanged:
 * so its `cache` is one.
 */
export function knownSite(root: string | URL, options: ServeFilesOptions = DEFAULTS): Site {
  const path = rootPath(root);
  const settings = settled.get(options) ?? settingsOf(options);
  settled.set(options, settings);
  if (settings.cache !== undefined) {
    const sites = cached.get(options) ?? new Map<string, Site>();
    cached.set(options, sites);
    const site = sites.get(path) ?? siteOf(path, settings);
    sites.set(path, site);
    return site;
  }
  const key = `${settings.symlinks}:${path}`;
  const opened = known.get(key) ?? openRoot(path, settings.symlinks);
  known.delete(key);
  known.set(key, opened);
  const [oldest] = known.keys();
  if (known.size > KNOWN_MAX && oldest !== undefined) known.delete(oldest);
  return { root: opened, settings };
}
