import config from './ava.mjs';

export default { ...config, files: ['test/*.test.mjs'] };
