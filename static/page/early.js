/**
 * Opens the WebSocket while the rest of the page arrives. It is a script of its own, the first;
 * room.js takes over.
 */
const early = new WebSocket(new URL("./", location.href.replace("http", "ws")));
early.startedAt = Date.now();
early.heard = [];
for (const type of ["open", "message", "close"]) early[`on${type}`] = (event) => early.heard.push(event);
