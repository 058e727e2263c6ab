/** Which file of the repository is which page of the site. A new package is found by itself. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const REPOSITORY = 'https://github.com/zerocopy-node/zerocopy';

/** The published packages: { name: 'splice-pipe', manifest }. */
export const packages = readdirSync(join(root, 'packages'))
  .filter((name) => existsSync(join(root, 'packages', name, 'package.json')))
  .map((name) => ({ name, manifest: JSON.parse(readFileSync(join(root, 'packages', name, 'package.json'), 'utf8')) }))
  .filter(({ manifest }) => manifest.private !== true);

const documents = readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md'));
const topLevel = ['SECURITY.md', 'CONTRIBUTING.md', 'SUPPORT.md', 'CODE_OF_CONDUCT.md'];

/** From a path of the repository to a path below content/. A package's folder stands for its README. */
export const pages = new Map([
  ...documents.map((name) => [`docs/${name}`, name]),
  ...topLevel
    .filter((name) => existsSync(join(root, name)))
    .map((name) => [name, name.toLowerCase().replaceAll('_', '-')]),
  ...packages.map(({ name }) => [`packages/${name}/README.md`, `packages/${name}.md`]),
]);
