/** The state of the connection, and the countdowns: until the next try, and the next message. */
import { $, keepFocus, on } from "./dom.js";
import { calmly, pressed } from "./pointer.js";
import { room, when } from "./room.js";
import { text } from "./texts.js";

let retryAt;
/** Before `waitUntil` nothing is sent; a mute until `mutedUntil` can end earlier. */
let waitUntil;
let mutedUntil;

/** Whether the server would refuse a message now. */
export const isEarly = () => waitUntil > Date.now();

/** Waits after a refusal with this code, for so many seconds. */
export function waitAfter(code, secs) {
  const until = Date.now() + 1_000 * secs;
  code === "muted" ? (mutedUntil = until) : (waitUntil = until);
}

/** A message was sent: the sender is not muted. */
export const endMute = () => (mutedUntil = undefined);

/** A wait was for a name and a token. */
export function endWait() {
  waitUntil = mutedUntil = undefined;
  count();
}

/** Shows what is left of each wait. */
export function count() {
  for (const [id, until] of Object.entries({ retryIn: retryAt, wait: Math.max(waitUntil ?? 0, mutedUntil ?? 0) })) {
    const secs = Math.ceil((until - Date.now()) / 1_000);
    $(id).textContent = secs > 0 ? text(id, { in: secs }) : "";
  }
  for (const button of document.querySelectorAll(".again, .sendAs, .sendAnyway")) {
    if (isEarly()) keepFocus(button, $("msg"));
    button.disabled = isEarly();
  }
}

when("state", (change) => {
  document.body.dataset.state = change.state;
  calmly(() => showState(change));
});
on("state-retry", "click", () => room.reconnect());
setInterval(() => pressed || count(), 1_000);
document.body.dataset.state = room.state;
showState(room);

function showState({ state, retryAt: at, reason }) {
  retryAt = at;
  $("state-words").textContent = text(reason === "kicked" ? reason : state);
  if (state !== "waiting") keepFocus($("state-retry"), $("msg"));
  $("state-retry").hidden = state !== "waiting";
  count();
}
