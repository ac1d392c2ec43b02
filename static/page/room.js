/** The connection of the page to the room. */
import { connect } from "../wschat.js";

const { url, startedAt, heard } = early;

let isTaken = false;

/** A WebSocket; the first is the one that early.js has opened, with all that it has heard. */
function Socket(href) {
  if (isTaken) return new WebSocket(href);
  isTaken = true;
  // When all of the page listens.
  queueMicrotask(() => {
    for (const event of heard.splice(0)) early[`on${event.type}`]?.(event);
  });
  return early;
}

// data-quiet-ms of the body sets quietMs.
export const room = connect(url, { ...document.body.dataset, startedAt, WebSocket: Socket });

/** Calls `act` with the detail of each event. */
export const when = (type, act) => room.addEventListener(type, ({ detail }) => act(detail));
