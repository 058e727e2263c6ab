export { default } from '../../tools/ci/ava.mjs';
