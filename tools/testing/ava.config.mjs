export { default } from '../ci/ava.mjs';
