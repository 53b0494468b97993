import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** The open replies of each connection: one listener serves them all, however many a client pipelines. */
const open = new WeakMap<Socket, Set<ServerResponse>>();

/**
 * Has a response emit 'close' when its connection ends. Node does that for the one that is being written; those
 * pipelined behind it have no socket yet and would never hear that their client has gone.
 */
export function closeWithConnection(response: ServerResponse): void {
  const { socket } = response.req;
  const replies = open.get(socket) ?? follow(socket);
  replies.add(response);
  response.once('close', () => replies.delete(response));
}

/** How long a client may take nothing at all of what is sent, milliseconds. */
export const STALL_MS = 30_000;

/** Cuts a client off that takes nothing for 30 s, so that it does not hold what is written and its connection for ever. */
export function cutOffWhenStalled(response: ServerResponse): void {
  response.setTimeout(STALL_MS, () => response.destroy());
}

function follow(socket: Socket): Set<ServerResponse> {
  const replies = new Set<ServerResponse>();
  open.set(socket, replies);
  // After Node's own listeners, so that only those are left which it forgets.
  socket.once('close', () => process.nextTick(() => replies.forEach(close)));
  return replies;
}

function close(response: ServerResponse): void {
  response.destroy();
  response.emit('close');
}
