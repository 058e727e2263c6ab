/** As where koffi has no binary: it cannot be loaded. */
import Module from 'node:module';

const load = Module._load;
Module._load = function (request, ...rest) {
  if (request === 'koffi' || request.startsWith('koffi/'))
    throw Object.assign(new Error("Cannot find module 'koffi'"), { code: 'MODULE_NOT_FOUND' });
  return load.call(this, request, ...rest);
};
