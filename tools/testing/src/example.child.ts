/** Runs an example on a port of its own, and reports the port and the transfers: examples are what people copy. */
import diagnosticsChannel from 'node:diagnostics_channel';
import { Server } from 'node:net';

const { listen } = Server.prototype;
Server.prototype.listen = function (this: Server, ...args: unknown[]) {
  this.once('listening', () => process.send?.({ port: (this.address() as { port: number }).port }));
  return Reflect.apply(listen, this, args);
} as typeof listen;
diagnosticsChannel.subscribe('tracing:zerocopy:transfer:asyncEnd', (message) => {
  process.send?.({ result: (message as { result: unknown }).result });
});
process.on('disconnect', () => process.exit());
const [example = '', ...rest] = process.argv.slice(2);
process.argv.splice(2, process.argv.length, ...rest);
await import(example);
