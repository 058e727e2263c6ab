/** One ava configuration for all packages: their tests run as plain JavaScript, compiled next to them. */
export default {
  files: ['dist-test/**/*.test.js'],
  concurrency: 2,
  timeout: '60s',
  workerThreads: false,
  nodeArguments: ['--enable-source-maps', '--expose-gc'],
  // In worker threads (a row of the matrix) this one has to be given to the process.
  filterNodeArgumentsForWorkerThreads: (argument) => argument !== '--expose-gc',
};
