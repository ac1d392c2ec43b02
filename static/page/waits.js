/** The state of the connection, and the countdowns: until the next try, and the next message. */
import { $, inTab, keepFocus, on } from "./dom.js";
import { calmly, pressed } from "./pointer.js";
import { room, when } from "./room.js";
import { text } from "./texts.js";

/** So long after a wait, its messages are no longer sent by themselves: the page slept. */
const LATE_MS = 5 * 60_000;

let retryAt;
/** Before `waitUntil` nothing is sent, also after a reload; a mute until `mutedUntil` can end earlier. */
let waitUntil = Number(inTab("waitUntil"));
let mutedUntil = 0;

/** Whether the server would refuse a message now. */
export const isEarly = () => waitUntil > Date.now();

/** Whether the wait was over long ago. */
export const isLate = () => Date.now() > waitUntil + LATE_MS;

/** Waits after a refusal with this code, or after a message, for so many seconds. */
export function waitAfter(code, secs) {
  const until = Date.now() + 1_000 * secs;
  if (code === "muted") mutedUntil = until;
  else setWait(until);
  count();
}

/** The sender is not muted: a message was sent, or the name is another. */
export const endMute = () => (mutedUntil = 0);

/** The wait was for a name, a token and a slow room. */
export function endWait() {
  setWait(Math.min(waitUntil, Date.now()));
  count();
}

function setWait(until) {
  waitUntil = until;
  inTab("waitUntil", until);
}

/** Shows what is left of each wait. */
export function count() {
  const sends = isEarly() && document.querySelector(".waits") ? "sendsIn" : "wait";
  const waits = [["retryIn", "retryIn", retryAt], ["wait", sends, sends === "wait" ? Math.max(waitUntil, mutedUntil) : waitUntil]];
  for (const [id, name, until] of waits) {
    const secs = Math.ceil((until - Date.now()) / 1_000);
    $(id).textContent = secs > 0 ? text(name, { in: secs }) : "";
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
