/** What the server tells of the room: its title and notice, how many are here, who may speak. */
import { linked, safeName } from "./content.js";
import { $, element, forGood, on } from "./dom.js";
import { calmly } from "./pointer.js";
import { room, when } from "./room.js";
import { text } from "./texts.js";
import { isModerator, onToken, token } from "./token.js";
import { endWait } from "./waits.js";

/** A longer notice is scrolled. */
const NOTICE_CHARS = 150;

/** The state as the server told it, or nothing: an older one tells nothing. */
const told = () => room.presence ?? {};

let unreadShown = 0;

/** Shows the name of the room, and how many messages are unread, on the tab. */
export function showUnread(count) {
  unreadShown = count;
  document.title = (unreadShown ? `(${unreadShown}) ` : "") + $("title").textContent;
}

/** The seconds between two own messages, as far as the page knows: moderators have none. */
export const slowSecs = () => (isModerator() ? 0 : (told().slow ?? 0));

let noticeShown;
let slowShown = 0;
when("room", () => calmly(showRoom));
when("state", ({ state }) => {
  // It may have changed meanwhile.
  if (state !== "open") return calmly(clearHere);
  // A server that does not tell it any more.
  setTimeout(() => noticeShown !== undefined && !room.presence && calmly(showRoom), 1_000);
});
onToken(() => calmly(showRules));
on("rules-token", "click", () => $("settings").showModal());
on("notice", "toggle", () => forGood("noticeFolded", $("notice").open ? "" : noticeShown));

function clearHere() {
  $("here").textContent = "";
}

function showRoom() {
  const { listeners, slow = 0, title = "", notice = "" } = told();
  $("title").textContent = $("title").title = safeName(title) || location.hostname;
  $("title").classList.toggle("titled", Boolean(title));
  if (room.state === "open" && listeners !== undefined) $("here").textContent = text("here", { n: listeners });
  else clearHere();
  showUnread(unreadShown);
  showNotice(notice);
  if (slow < slowShown) endWait();
  slowShown = slow;
  showRules();
}

/** Folded as long as it is the one that was folded. */
function showNotice(notice) {
  if (notice === noticeShown) return;
  noticeShown = notice;
  const shown = element("p", "", ...linked(notice));
  shown.dir = "auto";
  if (notice.length > NOTICE_CHARS) shown.tabIndex = 0;
  $("notice-text").replaceChildren(shown);
  $("notice").hidden = !notice;
  if (notice) $("notice").open = notice !== forGood("noticeFolded");
}

/** Says what stands against speaking before somebody tries. */
function showRules() {
  const { token: needsToken, locked, slow } = told();
  const lacksToken = needsToken && !token();
  const rules = [
    lacksToken && text("tokenNeeded"),
    locked && text("lockedNow"),
    !locked && slowSecs() && text("slowNow", { secs: slow }),
  ];
  $("rule").textContent = rules.filter(Boolean).join(" ");
  $("rules-token").hidden = !lacksToken;
  $("rules").hidden = !$("rule").textContent;
  $("empty").textContent = text(lacksToken || locked ? "empty" : "emptySay");
}
