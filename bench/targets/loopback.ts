/** Loaded before a program without an option for its address, so that it listens on 127.0.0.1 only. */
import { Server } from 'node:net';

type Listen = (this: Server, ...args: unknown[]) => Server;

const prototype = Server.prototype as { listen: Listen };
const { listen } = prototype;

prototype.listen = function (port, ...rest) {
  const callback = rest.find((argument) => typeof argument === 'function');
  return typeof port === 'number'
    ? listen.call(this, { port, host: '127.0.0.1' }, callback)
    : listen.call(this, port, ...rest);
};
