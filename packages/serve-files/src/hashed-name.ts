/** Names by which a build tells one content from the next: what they lead to never changes. */

/** `main.3f2a1b9c.js` (webpack): lower-case hexadecimal digits, with both figures and letters among them. */
const HEXADECIMAL = /[.-](?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,64}$/;
/** `index-Bv3xJ0ka.js` (Vite, Rollup): eight digits of base64url; `chunk-K3W2XQ7A.js` (esbuild): of base32. */
const EIGHT = /[.-]([\w-]{8})$/;
/** Longer ones of letters and figures. */
const LONG = /[.-]([A-Za-z0-9]{9,64})$/;
/** Words, dates and counters change less often between capitals, small letters and figures. */
const CHANGES_MIN = 3;

function changes(token: string): number {
  const kinds = token.replace(/[_-]/g, '').replace(/[a-z]/g, 'a').replace(/[A-Z]/g, 'A').replace(/\d/g, '0');
  return kinds.length - 1 - (kinds.match(/(.)(?=\1)/g)?.length ?? 0);
}

/** Whether the name of a file ends with a hash of its content, before its extensions. */
export function isHashedName(path: string): boolean {
  const name = path.slice(path.lastIndexOf('/') + 1);
  const stem = name.replace(/(?:\.(?:map|gz|br|zst))?$/, '').replace(/(?:\.[a-z]{1,2}\d?[a-z]*)$/i, '');
  if (stem === name) return false;
  if (HEXADECIMAL.test(stem)) return true;
  const token = EIGHT.exec(stem)?.[1] ?? LONG.exec(stem)?.[1];
  return token !== undefined && changes(token) >= CHANGES_MIN;
}
