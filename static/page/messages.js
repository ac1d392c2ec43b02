/** Messages from the room on their way into the list, one layout for all that have come. */
import { showUnread } from "./about.js";
import { $, keepFocus, on } from "./dom.js";
import { isHidden, onHidden } from "./hidden.js";
import { List } from "./list.js";
import { callMe, mentions } from "./name.js";
import { calmly, pressed } from "./pointer.js";
import { when } from "./room.js";
import { text } from "./texts.js";
import { forget, groupSending, removeNode, unsentById } from "./unsent.js";

/** Above this in five seconds a screen reader gets a count. */
const SPOKEN_MAX = 5;
/** The most messages kept for a hidden page. */
const INCOMING_MAX = 4_000;
/** After a longer one there is time for keys. */
const LONG_PAINT_MS = 10;

export const list = new List({ scroller: $("scroller"), list: $("list"), gone: $("gone"), onNews });
let incoming = [];
let skipped = 0;
let unread = 0;
let spoken = 0;
/** How long the last one took. */
let paintMs = 0;
/** Whether there was a message since the reader left. */
let isMarked = false;

when("message", (message) => {
  const own = unsentById(message.id);
  if (own) forget(own);
  const hidden = isHidden(message.usr);
  const mention = !own && !hidden && mentions(message.msg);
  if (document.hidden && !hidden) showUnread(++unread);
  noticeReader();
  const isNew = !own && !hidden && !isMarked && isAway();
  isMarked ||= isNew;
  show({ message, mention, hidden, own, isNew });
  if (mention) callMe(message);
});
when("retract", ({ retract }) => show({ retract }));
onHidden(() => list.hide(isHidden));
when("gap", () => show({ gap: true }));

/** Shows what has come, with one layout for all of it. */
function show(entry) {
  if (!incoming.length) {
    if (document.hidden) setTimeout(paint, 500);
    // Below what is being read; so a flood leaves time for keys.
    else if (!list.following) setTimeout(paint, 200);
    else if (paintMs > LONG_PAINT_MS) setTimeout(paint, 2 * paintMs);
    else requestAnimationFrame(paint);
  }
  incoming.push(entry);
  if (incoming.length <= INCOMING_MAX) return;
  for (const { message, retract, own } of incoming.splice(0, INCOMING_MAX / 2)) {
    if (message) skipped += 1;
    if (own) removeNode(own);
    if (retract) list.retract(retract);
  }
}

function paint() {
  if (pressed) return calmly(paint);
  const start = performance.now();
  // Taken first: after an exception the next messages are painted.
  const [entries, missed] = [incoming, skipped];
  [incoming, skipped] = [[], 0];
  // Somebody may have been hidden or shown again meanwhile.
  for (const entry of entries) if (entry.message) entry.hidden = isHidden(entry.message.usr);
  for (const { own } of entries) if (own) removeNode(own);
  spoken += entries.filter(({ message, hidden }) => message && !hidden).length;
  if (spoken > SPOKEN_MAX) $("log").setAttribute("aria-live", "off");
  $("empty").hidden ||= entries.some(({ retract }) => !retract);
  list.add(entries, missed);
  groupSending(list.lastUser);
  paintMs = performance.now() - start;
}

setInterval(() => {
  const busy = spoken > SPOKEN_MAX;
  $("spoken").textContent = busy ? text("news", { n: spoken }) : "";
  if (!busy) $("log").setAttribute("aria-live", "polite");
  spoken = 0;
}, 5_000);

/** Whether the reader looks elsewhere. */
const isAway = () => document.hidden || !document.hasFocus() || !list.following;

/** Whoever comes back has seen what was new. */
function noticeReader() {
  if (!isAway()) isMarked = false;
}

addEventListener("focus", noticeReader);
document.addEventListener("visibilitychange", () => {
  noticeReader();
  if (document.hidden) return;
  showUnread((unread = 0));
});

function onNews(following, news) {
  noticeReader();
  if (following) keepFocus($("jump"), $("msg"));
  $("jump").hidden = following;
  $("jump").textContent = text(news ? "news" : "latest", { n: news });
}
on("jump", "click", () => list.jump());
