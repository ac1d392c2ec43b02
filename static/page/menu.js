/** The menu of a message: one for all, which keeps its message whatever becomes of the line. */
import { safeName } from "./content.js";
import { $, element, isWall, on } from "./dom.js";
import { hide } from "./hidden.js";
import { mention } from "./mention.js";
import { list } from "./messages.js";
import { moderate, say } from "./moderate.js";
import { ownName } from "./name.js";
import { text } from "./texts.js";
import { isModerator } from "./token.js";

/** The longest text of a message in the menu's title. */
const TITLE_CHARS = 200;

/** What everybody can do with a message, */
const FOR_ALL = {
  mention: ({ usr }) => mention(usr),
  copy: ({ usr, clock, words }) => copy(`[${clock}] ${safeName(usr)}: ${words}`),
  hide: ({ usr }) => hide(usr),
};
/** and what moderators can. */
const FOR_MODERATORS = {
  retract: ({ tim }) => moderate({ retract: tim }),
  retractAll: ({ usr }) => moderate({ retract: { name: usr } }),
  mute600: ({ usr }) => moderate({ mute: usr, secs: 600 }),
  mute3600: ({ usr }) => moderate({ mute: usr, secs: 3_600 }),
  mute: ({ usr }) => moderate({ mute: usr }),
  muteAndRetract: ({ usr }) => moderate({ mute: usr }, { retract: { name: usr } }),
  kick: ({ usr }) => moderate({ kick: usr }),
};
const ENTRIES = { ...FOR_ALL, ...FOR_MODERATORS };

/** A text of its own, or one made of others. */
function entryWords(name) {
  if (name === "muteAndRetract") return `${text("mute")} + ${text("retractAll")}`;
  return text(name) ?? text("muteFor", { secs: name.slice(4) });
}

/** The message of the menu, or of the button that opens it. */
let chosen;

for (const name of Object.keys(ENTRIES)) {
  const button = element("button", "", entryWords(name));
  button.dataset.entry = name;
  $("menu").append(button);
}

on("list", "click", ({ target, detail, clientX, clientY }) => {
  // Beside the text; a selection can end there.
  if (isWall || detail > 1 || target.closest(".text") || !getSelection().isCollapsed) return;
  const message = list.messageOf(target);
  if (message) openMenu(message, new DOMRect(clientX, clientY - 12, 12, 24));
});
on("menu", "click", ({ target }) => {
  const act = ENTRIES[target.dataset.entry];
  if (!act) return;
  // The focus goes back to what can choose another one.
  const message = chosen;
  $("menu").togglePopover(false);
  act(message);
});
on("menu", "focusout", ({ relatedTarget }) => {
  if (relatedTarget && !$("menu").contains(relatedTarget)) $("menu").togglePopover(false);
});
on("menu", "toggle", unmark);

// By keyboard: the arrow keys choose the message, of which a screen reader hears.
on("more", "focus", choose);
on("more", "blur", unmark);
on("more", "click", () => {
  if (!chosen) choose();
  if (chosen) openMenu(chosen, $("more").getBoundingClientRect());
});
on("more", "keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const message = list.step(chosen?.line, step);
  // A screen reader reads again what gets the focus.
  $("more").blur();
  mark(message);
  $("more").focus();
});

/** Names the chosen message, or the last one in view. */
function choose() {
  mark(list.step(chosen?.line, 0));
  $("more").textContent = [text("menu"), chosen && titleOf(chosen)].filter(Boolean).join(": ");
}

function mark(message) {
  chosen?.line.classList.remove("chosen");
  chosen = message;
  chosen?.line.classList.add("chosen");
}

/** Nothing is chosen any more unless the menu or its button has the focus. */
function unmark() {
  if (!$("menu").matches(":popover-open") && document.activeElement !== $("more")) mark();
}

const titleOf = ({ usr, clock, words }) => `${safeName(usr)}, ${clock}: ${words.slice(0, TITLE_CHARS)}`;

function openMenu(message, place) {
  mark(message);
  $("menu-of").textContent = titleOf(message);
  const isServer = message.usr === "wschat";
  for (const button of $("menu").querySelectorAll("button")) {
    const { entry } = button.dataset;
    const isForMe = entry in FOR_ALL || isModerator();
    const isSensible = !isServer || entry === "copy" || entry === "retract";
    button.hidden = !isForMe || !isSensible || (entry === "hide" && message.usr === ownName());
  }
  $("menu").togglePopover(true);
  placeMenu(place);
  $("menu").querySelector("button:not([hidden])").focus({ preventScroll: true });
}

/** Places the menu below or above what has opened it, so that a second click meets no entry. */
function placeMenu({ top, bottom, right }) {
  const { style } = $("menu");
  const [width, height] = [document.body.clientWidth, document.body.clientHeight];
  const isBelow = height - bottom > top;
  style.maxHeight = `${(isBelow ? height - bottom : top) - 12}px`;
  const { offsetWidth, offsetHeight } = $("menu");
  style.left = `${Math.max(8, Math.min(right, width - 8) - offsetWidth)}px`;
  style.top = `${isBelow ? bottom + 4 : top - 4 - offsetHeight}px`;
}

/** Puts a text into the clipboard, also where a page without TLS has no other way. */
function copy(words) {
  const put = (event) => {
    event.clipboardData.setData("text/plain", words);
    event.preventDefault();
  };
  document.addEventListener("copy", put, { once: true });
  if (document.execCommand("copy")) say(text("copied"));
  document.removeEventListener("copy", put);
}
