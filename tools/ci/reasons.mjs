/**
 * The reasons that the packages publish: `fallbackReason`, `handedBack`, and the keys of `stats().declined`. Read from
 * the source, where a reason is a text of three words or more that is returned as `string | undefined`, kept as
 * `reason`, `refused` or in a constant, or given to one of the calls that leave the kernel path.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from '@typescript/typescript6';
import { filesOf, root } from './repository-text.mjs';

const CALLS =
  /(^|\.)#?(fallBack|refused|unavailable|leave|stop|touch|onEnd|succeed|copyInstead|readInstead|countDeclined|no|unusable)$/;
const CLASSES = /^(MethodRecord|StreamCopyEngine|RelayCopyEngine)$/;
const PROPERTIES = /^#?(reason|refused|fallbackReason|sequential|write|end|E[A-Z]+)$/;
const CONSTANTS = /^(refused|reason|unshared|sequential|before|[A-Z][A-Z0-9_]+|empty|text|why)$/;
/** Files whose texts become the message of an error, a page, or an answer to the probe, and never a reason of a transfer. */
const NO_REASONS = [
  /^packages\/lease-guard\/src\/(?!trap)/,
  /^packages\/core-syscalls\/src\/(syscalls|probe\/(format-report|known-bad-kernels|probe-path|network-interfaces))/,
  /^packages\/serve-files\/src\/(?!send-plan|fetch-files)/,
  /^packages\/cli\//,
  /^packages\/mmap-buffer\/src\/(pool-|holder-|shared-|map-options|map-file|mapped-file|resize|reserve-|tell-)/,
];

const isAssignment = ({ operatorToken: { kind } }) =>
  kind >= ts.SyntaxKind.FirstAssignment && kind <= ts.SyntaxKind.LastAssignment;

/** What stands around the literal, with the expressions that only choose between literals left out. */
function contextOf(literal) {
  let node = literal.parent;
  while (
    ts.isConditionalExpression(node) ||
    ts.isParenthesizedExpression(node) ||
    ts.isAsExpression(node) ||
    (ts.isBinaryExpression(node) && !isAssignment(node))
  ) {
    node = node.parent;
  }
  return node;
}

function isReason(literal) {
  const context = contextOf(literal);
  if (ts.isCallExpression(context)) return CALLS.test(context.expression.getText());
  if (ts.isNewExpression(context)) return CLASSES.test(context.expression.getText());
  if (ts.isPropertyAssignment(context) || ts.isPropertyDeclaration(context)) {
    return PROPERTIES.test(context.name.getText());
  }
  if (ts.isVariableDeclaration(context)) return CONSTANTS.test(context.name.getText());
  if (ts.isBinaryExpression(context)) return true;
  if (ts.isReturnStatement(context) || ts.isArrowFunction(context)) {
    let inside = context;
    while (!ts.isFunctionLike(inside)) inside = inside.parent;
    return (
      /\bstring \| undefined\b|\| string\b/.test(inside.type?.getText() ?? '') ||
      /^(describeRefusal|refusedBy)$/.test(inside.name?.getText() ?? '')
    );
  }
  return ts.isParameter(context);
}

/** The text as the documents write it: what is filled in is '…'. */
function textOf(literal) {
  if (!ts.isTemplateExpression(literal)) return literal.text;
  return literal.head.text + literal.templateSpans.map(({ literal: { text } }) => `…${text}`).join('');
}

/** @returns {{ text: string, path: string }[]} each text once for each file that has it */
export function publishedReasons() {
  const found = new Map();
  for (const path of filesOf('packages', ['.ts'])) {
    if (!/^packages\/[^/]+\/src\//.test(path) || NO_REASONS.some((pattern) => pattern.test(path))) continue;
    const file = ts.createSourceFile(path, readFileSync(join(root, path), 'utf8'), ts.ScriptTarget.Latest, true);
    const visit = (node) => {
      const literal =
        ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node) || ts.isTemplateExpression(node);
      if (literal && isReason(node)) {
        const text = textOf(node);
        if (text.trim().split(/\s+/).length >= 3 && /^[a-zA-Z…']/.test(text))
          found.set(`${path}\0${text}`, { text, path });
      }
      ts.forEachChild(node, visit);
    };
    visit(file);
  }
  return [...found.values()];
}
