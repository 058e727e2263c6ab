/**
 * Whether every exported symbol of a package, and every public member of it, has a doc comment: read from the
 * declarations that are published, that is from what an editor shows to the package's users.
 *
 * `node tools/ci/documented.mjs` lists what has none, for all packages, those of PENDING included. `package-check` runs it
 * for one package, and fails unless that is PENDING.
 *
 * Not asked for: what belongs to another package, be it re-exported or inherited (Node documents its own methods, also
 * where a class of ours overrides them); private members; constructors without parameters; the discriminants of a
 * union, whose values say what they are. Members that are marked as internal are not in the declarations
 * (`stripInternal`).
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve, sep } from 'node:path';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';
import ts from '@typescript/typescript6';
import { root } from './repository-text.mjs';

/** Folders in packages/ that are being rewritten: listed, but not failed. To be emptied. */
export const PENDING = [];

const HIDDEN = ts.ModifierFlags.Private;

/** The declaration files that the `exports` of the package in `folder` lead to, by the name of the entry. */
export function entriesOf(folder) {
  const { exports } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const entries = new Map();
  for (const [name, target] of Object.entries(exports ?? {})) {
    for (const file of typesIn(target)) entries.set(name, resolve(folder, file));
  }
  return entries;
}

/** The values of `types` in a target of `exports`, below whatever conditions. */
function typesIn(target) {
  if (typeof target !== 'object' || target === null) return [];
  return Object.entries(target).flatMap(([condition, value]) =>
    condition.startsWith('types') && typeof value === 'string' ? [value] : typesIn(value),
  );
}

class Reader {
  #checker;
  #inside;
  #seen = new Set();
  missing = [];

  constructor(checker, folder) {
    this.#checker = checker;
    this.#inside = resolve(folder, 'dist') + sep;
  }

  #isOurs = (declaration) => declaration.getSourceFile().fileName.startsWith(this.#inside);

  /** An exported symbol, and what is in it. */
  exported(symbol, name) {
    const isAlias = (symbol.flags & ts.SymbolFlags.Alias) !== 0;
    const target = isAlias ? this.#checker.getAliasedSymbol(symbol) : symbol;
    const declarations = (target.declarations ?? []).filter(this.#isOurs);
    if (declarations.length === 0 || this.#seen.has(target)) return;
    this.#seen.add(target);
    // A module under one name (`export * as`) is described at the head of its file.
    if ((target.flags & ts.SymbolFlags.Module) !== 0 && declarations.every(ts.isSourceFile)) {
      for (const member of this.#checker.getExportsOfModule(target)) this.exported(member, `${name}.${member.name}`);
      return;
    }
    if (!this.#isDocumented(target)) this.missing.push(name);
    for (const declaration of declarations) this.#members(declaration, name);
  }

  #isDocumented(symbol) {
    return (
      symbol.getDocumentationComment(this.#checker).length > 0 ||
      symbol.getJsDocTags(this.#checker).some(({ text }) => text !== undefined && text.length > 0)
    );
  }

  #members(declaration, name) {
    if (ts.isClassDeclaration(declaration) || ts.isInterfaceDeclaration(declaration)) {
      for (const member of declaration.members) this.#member(member, name, declaration);
    } else if (ts.isEnumDeclaration(declaration)) {
      for (const member of declaration.members) this.#member(member, name);
    } else if (ts.isTypeAliasDeclaration(declaration) || ts.isVariableDeclaration(declaration)) {
      this.#literals(declaration.type, name);
    } else if (ts.isModuleDeclaration(declaration)) {
      const symbol = this.#checker.getSymbolAtLocation(declaration.name);
      for (const member of this.#checker.getExportsOfModule(symbol)) this.exported(member, `${name}.${member.name}`);
    }
  }

  /** The members of object types that are written out in a type, also as the parts of a union or an intersection. */
  #literals(type, name) {
    if (type === undefined) return;
    if (ts.isTypeLiteralNode(type)) {
      for (const member of type.members) if (!isDiscriminant(member)) this.#member(member, name);
    } else if (ts.isUnionTypeNode(type) || ts.isIntersectionTypeNode(type)) {
      for (const part of type.types) this.#literals(part, name);
    } else if (ts.isParenthesizedTypeNode(type) || ts.isTypeOperatorNode(type)) this.#literals(type.type, name);
  }

  #member(member, name, owner) {
    if ((ts.getCombinedModifierFlags(member) & HIDDEN) !== 0) return;
    if (member.name !== undefined && ts.isPrivateIdentifier(member.name)) return;
    if (ts.isConstructorDeclaration(member) && member.parameters.length === 0) return;
    const label = memberName(member);
    const symbol = member.name === undefined ? undefined : this.#checker.getSymbolAtLocation(member.name);
    if (symbol !== undefined && this.#seen.has(symbol)) return; // a setter next to its getter, a further overload
    if (symbol !== undefined) this.#seen.add(symbol);
    const documented = symbol === undefined ? isCommented(member) : this.#isDocumented(symbol);
    if (!documented && !this.#isInherited(owner, symbol)) this.missing.push(`${name}${label}`);
    if (ts.isPropertySignature(member) || ts.isPropertyDeclaration(member))
      this.#literals(member.type, `${name}${label}`);
  }

  /** Whether a type of another package, that `owner` extends or implements, has such a member. */
  #isInherited(owner, symbol) {
    if (symbol === undefined || owner === undefined) return false;
    return (owner.heritageClauses ?? [])
      .flatMap(({ types }) => types)
      .some((node) => {
        const type = this.#checker.getTypeAtLocation(node);
        const inherited = this.#checker.getPropertyOfType(type, symbol.name);
        return inherited?.declarations?.some((declaration) => !this.#isOurs(declaration)) ?? false;
      });
  }
}

/** Whether a member of an object type tells the parts of a union apart. */
function isDiscriminant(member) {
  return ts.isUnionTypeNode(member.parent.parent) && member.type !== undefined && ts.isLiteralTypeNode(member.type);
}

function memberName(member) {
  if (member.name !== undefined)
    return ts.isComputedPropertyName(member.name) ? member.name.getText() : `.${member.name.getText()}`;
  if (ts.isConstructorDeclaration(member)) return ' (constructor)';
  if (ts.isIndexSignatureDeclaration(member)) return ' (index)';
  return ' (call)';
}

/** Whether a signature without a name has a doc comment that says something. */
function isCommented(node) {
  return ts.getJSDocCommentsAndTags(node).some(({ comment, tags }) => Boolean(comment) || Boolean(tags?.length));
}

/**
 * What has no doc comment in the published declarations of the package in `folder`, for instance 'Stream.method', with
 * the name of the entry in front where that is not '.'.
 * @throws {Error} if the package has not been built.
 */
export function undocumented(folder) {
  const entries = entriesOf(folder);
  const program = ts.createProgram([...entries.values()], {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
    lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
    types: ['node'],
    strict: true,
    noEmit: true,
    skipLibCheck: true,
  });
  const checker = program.getTypeChecker();
  const reader = new Reader(checker, folder);
  for (const [entry, file] of entries) {
    const source = program.getSourceFile(file);
    if (source === undefined) throw new Error(`${file} is not there: build the package first`);
    const module = checker.getSymbolAtLocation(source);
    const prefix = entry === '.' ? '' : `${entry}: `;
    for (const symbol of module === undefined ? [] : checker.getExportsOfModule(module)) {
      reader.exported(symbol, `${prefix}${symbol.name}`);
    }
  }
  return reader.missing;
}

/** The folders of all packages that have been built. */
function builtPackages() {
  return readdirSync(join(root, 'packages')).filter((name) => existsSync(join(root, 'packages', name, 'dist')));
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  for (const name of builtPackages()) {
    const missing = undocumented(join(root, 'packages', name));
    const pending = PENDING.includes(name);
    console.log(`${name}: ${missing.length} without a doc comment${pending ? ' (pending)' : ''}`);
    for (const symbol of missing) console.log(`  ${symbol}`);
    if (missing.length > 0 && !pending) process.exitCode = 1;
  }
}
