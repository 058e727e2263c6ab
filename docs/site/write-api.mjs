/** The API reference of each package, by TypeDoc, from the declarations that are published. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Application } from 'typedoc';
import { packages, REPOSITORY, root } from './sources.mjs';

/** The declarations behind the first condition that has some. */
function declarationsOf(target) {
  if (typeof target !== 'object' || target === null) return undefined;
  if (typeof target.types === 'string') return target.types;
  return Object.values(target)
    .map(declarationsOf)
    .find((found) => found !== undefined);
}

for (const { name, manifest } of packages.filter(({ name: folder }) => folder !== 'transfer')) {
  const declarations = declarationsOf(manifest.exports['.']);
  // A package without an importable entry (a command) has no reference.
  if (declarations === undefined || !existsSync(join(root, 'packages', name, declarations))) continue;
  const app = await Application.bootstrapWithPlugins({
    entryPoints: [join(root, 'packages', name, declarations)],
    tsconfig: join(import.meta.dirname, 'tsconfig.json'),
    plugin: ['typedoc-plugin-markdown'],
    name: manifest.name,
    readme: 'none',
    router: 'module',
    out: join(import.meta.dirname, 'content', 'api', name),
    entryFileName: 'index',
    hideBreadcrumbs: true,
    hidePageHeader: true,
    disableSources: true,
    excludeExternals: true,
    excludePrivate: true,
    excludeInternal: true,
    githubPages: false,
    skipErrorChecking: true,
    logLevel: 'Error',
    useHTMLAnchors: true,
    parametersFormat: 'table',
    interfacePropertiesFormat: 'table',
    propertiesFormat: 'table',
    sourceLinkTemplate: `${REPOSITORY}/blob/main/{path}`,
  });
  const project = await app.convert();
  if (project === undefined) throw new Error(`TypeDoc could not read ${manifest.name}`);
  await app.generateOutputs(project);
}

const api = join(import.meta.dirname, 'content', 'api');
for (const path of readdirSync(api, { recursive: true }).filter((name) => String(name).endsWith('.md'))) {
  const file = join(api, String(path));
  writeFileSync(file, `---\neditLink: false\n---\n\n${readFileSync(file, 'utf8')}`);
}
