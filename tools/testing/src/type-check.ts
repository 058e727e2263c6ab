/** Programs of users, type-checked under each way in which they may resolve modules. */
import { join } from 'node:path';
import ts from '@typescript/typescript6';

/** Ways to resolve modules, and the kind of modules that goes with each. */
export const RESOLUTIONS: Readonly<Record<string, ts.CompilerOptions>> = {
  nodenext: { module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext },
  node16: { module: ts.ModuleKind.Node16, moduleResolution: ts.ModuleResolutionKind.Node16 },
  bundler: { module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler },
};

// Parsing the declarations of Node and of the language costs most of a check: it is done once for all.
const parsed = new Map<string, ts.SourceFile | undefined>();

/**
 * What is wrong with `program`, an ES module that would lie in `directory`, and with every declaration file of this
 * repository that it leads to: `file:line: message` for each; of the program itself without the file.
 * @param resolution one of {@link RESOLUTIONS}
 */
export function typeErrors(program: string, directory: string, resolution: ts.CompilerOptions): string[] {
  const file = join(directory, 'virtual-program.mts');
  const options: ts.CompilerOptions = {
    ...resolution,
    target: ts.ScriptTarget.ES2022,
    strict: true,
    noEmit: true,
    types: ['node'],
  };
  const host = ts.createCompilerHost(options);
  const { readFile, fileExists, getSourceFile } = host;
  host.readFile = (path) => (path === file ? program : readFile.call(host, path));
  host.fileExists = (path) => path === file || fileExists.call(host, path);
  host.getSourceFile = (path, language, ...rest) => {
    if (path === file) return getSourceFile.call(host, path, language, ...rest);
    const format = typeof language === 'object' ? language.impliedNodeFormat : undefined;
    const key = `${path} ${format}`;
    if (!parsed.has(key)) parsed.set(key, getSourceFile.call(host, path, language, ...rest));
    return parsed.get(key);
  };
  const checked = ts.createProgram([file], options, host);
  // What is installed is its authors' to check; a sibling resolves to its own folder here.
  const ours = checked.getSourceFiles().filter(({ fileName }) => !fileName.includes('/node_modules/'));
  const diagnostics = [...checked.getOptionsDiagnostics(), ...checked.getGlobalDiagnostics()].concat(
    ...ours.map((one) => [...checked.getSyntacticDiagnostics(one), ...checked.getSemanticDiagnostics(one)]),
  );
  return diagnostics.map(({ file: at, messageText, start = 0 }) => {
    const line = (at?.getLineAndCharacterOfPosition(start).line ?? 0) + 1;
    const where = at === undefined || at.fileName === file ? `${line}` : `${at.fileName}:${line}`;
    return `${where}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`;
  });
}
