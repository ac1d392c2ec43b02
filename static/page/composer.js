/** Writing and sending messages. */
import { newId } from "../wschat.js";
import { slowSecs } from "./about.js";
import { $, forGood, inTab, on } from "./dom.js";
import { list } from "./messages.js";
import { ownName } from "./name.js";
import { calmly, pressed } from "./pointer.js";
import { room, when } from "./room.js";
import { text } from "./texts.js";
import { onToken, token, tokenName } from "./token.js";
import { fill, firstWaiting, forget, isSending, reason, removeNode, showUnsent, unsentAround } from "./unsent.js";
import { endMute, endWait, isEarly, isLate, waitAfter } from "./waits.js";

/** A word that looks like a command, but not a path. */
const SLASH_WORD = /^[\s\p{Cf}]*([/／][\p{N}_]*\p{L}[^\s/]*)(?!\S)/u;
/** The commands of wschat join, also with what does not belong to them. */
const COMMAND = /^[\s\p{Cf}]*([/／](help|kick|lock|mute|name|quit|retract|slow|token|unlock|unmute)(?![\p{L}\p{N}_]))/iu;

/** The longest wait after which a message is sent by itself. */
const WAIT_MAX_SECS = 120;
/** The longest message; the server writes it into the page. */
const bytesMax = Number(document.documentElement.dataset.bytesMax);

$("usr").value = forGood("name") || tokenName();
$("msg").value = inTab("draft");
drafted();
// In a frame it would take the focus from the page around it.
if (parent === window) $($("usr").value ? "msg" : "usr").focus();

on("usr", "input", nameTyped);
on("usr", "change", nameChanged);
on("msg", "input", drafted);
on("composer", "submit", submit);
on("composer", "keydown", enter);
on("usr", "keydown", enter);
when("notice", (notice) => calmly(() => ($("hint").textContent = reason(notice.err, notice))));
onToken(() => {
  if (token()) $("usr").value ||= tokenName();
  nameChanged();
});

function enter(event) {
  // Enter selects a word of an input method (229 in Safari).
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  if (event.target.matches("button")) return;
  event.preventDefault();
  if (event.target === $("msg")) $("composer").requestSubmit();
  else $("msg").focus();
}

function drafted() {
  const box = $("msg");
  inTab("draft", box.value);
  // Its form keeps its height: the list would move and leave its end.
  const { style, offsetHeight } = $("composer");
  style.minHeight = `${offsetHeight}px`;
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight + 2}px`;
  style.minHeight = "";
  const left = bytesLeft();
  const near = left < bytesMax / 5;
  $("left").textContent = near ? text(left < 0 ? "over" : "left", { bytes: Math.abs(left) }) : "";
  $("left").classList.toggle("bad", left < 0);
}

function nameTyped() {
  forGood("name", ownName());
}

function nameChanged() {
  nameTyped();
  endMute();
  endWait();
}

function typed() {
  return { id: newId(), usr: ownName(), msg: $("msg").value };
}

/** Bytes that are left. */
function bytesLeft() {
  const message = JSON.stringify(outgoing(typed()));
  return bytesMax - new TextEncoder().encode(message).length;
}

function outgoing({ usr, msg, id }) {
  return { usr, msg, id, jwt: token() || undefined };
}

function submit(event) {
  event.preventDefault();
  const entry = typed();
  $("hint").textContent = "";
  $("msg").focus();
  if (!entry.msg.trim() || bytesLeft() < 0) return;
  const [command, slash] = [COMMAND, SLASH_WORD].map((pattern) => pattern.exec(entry.msg)?.[1]);
  const word = command ?? slash;
  if (word) Object.assign(entry, { code: command ? "command" : "slash", word });
  showUnsent(entry);
  $("msg").value = "";
  drafted();
  if (!word) send(entry);
  list.endNew();
  list.jump();
}

/** Sends it now or, in its turn, when the wait is over. */
function send(entry) {
  if (isEarly() || firstWaiting()) become(entry, "waits");
  else deliver(entry);
}

setInterval(() => pressed || sendWaiting(), 1_000);

function sendWaiting() {
  const entry = firstWaiting();
  if (!entry || isEarly() || isSending()) return;
  if (isLate()) become(entry, "too-late");
  else if (room.state === "open") deliver(entry);
}

async function deliver(entry) {
  become(entry);
  try {
    await room.send(outgoing(entry));
    endMute();
    if (slowSecs()) waitAfter("sent", slowSecs());
  } catch ({ code, notice }) {
    // After a longer wait it is the same text again that the server refuses, and others may go.
    const isTooFast = code === "rate-limited" && notice.wait <= WAIT_MAX_SECS;
    const isRepeat = code === "rate-limited" && !isTooFast;
    if (notice?.wait && !isRepeat) waitAfter(code, notice.wait);
    const why = reason(isRepeat ? "" : code, notice);
    calmly(() => (isTooFast ? become(entry, "waits") : become(entry, code, why)));
  }
}

function become(entry, code, why) {
  Object.assign(entry, { code, why, word: undefined });
  fill(entry);
}

const ACTS = {
  token: () => $("settings").showModal(),
  /** With the name that stands there now. */
  again(entry) {
    if (!$("usr").reportValidity()) return;
    entry.usr = ownName();
    send(entry);
  },
  sendAs(entry) {
    $("usr").value = tokenName();
    nameChanged();
    ACTS.again(entry);
  },
  sendAnyway: (entry) => ACTS.again(entry),
  edit(entry) {
    $("msg").value = [entry.msg, $("msg").value].filter(Boolean).join("\n");
    ACTS.discard(entry);
    drafted();
  },
  discard(entry) {
    forget(entry);
    removeNode(entry);
  },
};

on("unsent", "click", ({ target, detail }) => {
  // The second click of two meets what has moved there.
  if (detail > 1) return;
  const entry = unsentAround(target);
  if (entry) ACTS[target.classList[1]]?.(entry);
});
