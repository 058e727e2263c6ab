/** A file of this folder, bundled with all that it needs, as text: made by tools/ci/bundle.mjs. */
declare module '*?text' {
  const text: string;
  export default text;
}
