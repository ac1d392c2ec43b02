/** The connection of the page to the room. */
import { connect } from "../wschat.js";

const { url, startedAt, heard } = early;

/** A WebSocket; the first is the one that early.js has opened. */
function Socket(href) {
  const isTaken = early.onclose || early.readyState > WebSocket.OPEN;
  if (isTaken) return new WebSocket(href);
  if (early.readyState === WebSocket.OPEN) {
    // When all of the page listens.
    queueMicrotask(() => {
      early.onopen?.();
      for (const event of heard) early.onmessage?.(event);
    });
  }
  return early;
}

// data-quiet-ms of the body sets quietMs.
export const room = connect(url, { ...document.body.dataset, startedAt, WebSocket: Socket });

/** Calls `act` with the detail of each event. */
export const when = (type, act) => room.addEventListener(type, ({ detail }) => act(detail));
