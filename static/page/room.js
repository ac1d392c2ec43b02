/** The connection of the page to the room. */
import { connect } from "../wschat.js";

const url = new URL("./", location);
url.protocol = url.protocol.replace("http", "ws");
// data-quiet-ms of the body sets quietMs.
export const room = connect(url, document.body.dataset);

/** Calls `act` with the detail of each event. */
export const when = (type, act) => room.addEventListener(type, ({ detail }) => act(detail));
