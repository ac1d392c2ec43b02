/**
 * The chat page: wschat.js, list.js and texts.js together.
 *
 * Token, draft and unsent messages are stored for this tab, settings for good.
 */
import { connect, newId } from "./wschat.js";
import { List, body, clock, element, keepFocus, nameTag, safeName } from "./list.js";
import { fillTexts, locale, text } from "./texts.js";

/** Above this in five seconds a screen reader gets a count. */
const SPOKEN_MAX = 5;
/** A word that looks like a command, but not a path. */
const SLASH_WORD = /^[\s\p{Cf}]*([/／][\p{N}_]*\p{L}[^\s/]*)(?!\S)/u;
/** The commands of wschat join, also with what does not belong to them. */
const COMMAND = /^[\s\p{Cf}]*([/／](help|kick|lock|mute|name|quit|retract|slow|token|unlock|unmute)(?![\p{L}\p{N}_]))/iu;
/** The most messages kept for a hidden page. */
const INCOMING_MAX = 4_000;

const { dataset } = document.body;
/** The longest message; the server writes it into the page. */
const bytesMax = Number(document.documentElement.dataset.bytesMax);
const $ = (id) => document.getElementById(id);
const on = (id, type, act) => $(id).addEventListener(type, act);

/** Reads or stores a value; ignores full or forbidden storage. */
const storage = (kind) => (key, value) => {
  try {
    if (value === undefined) return globalThis[kind].getItem(`wschat.${key}`) ?? "";
    globalThis[kind].setItem(`wschat.${key}`, value);
  } catch {
    return "";
  }
};
const inTab = storage("sessionStorage");
const forGood = storage("localStorage");

fillTexts();

/* The room */

const url = new URL("./", location);
url.protocol = url.protocol.replace("http", "ws");
// data-quiet-ms of the body sets quietMs.
const room = connect(url, dataset);
const list = new List({ scroller: $("scroller"), list: $("list"), gone: $("gone"), onNews });
const when = (type, act) => room.addEventListener(type, ({ detail }) => act(detail));
let incoming = [];
let skipped = 0;
let unread = 0;
let spoken = 0;

when("message", (message) => {
  const own = unsent.find(({ id }) => id === message.id);
  if (own) forget(own);
  const mention = !own && mentions(message.msg);
  if (document.hidden) document.title = `(${++unread}) wschat`;
  show({ message, mention, own });
  if (mention) callMe(message);
});

when("retract", ({ retract }) => show({ retract }));
when("gap", () => show({ gap: true }));

/** Shows what has come, with one layout for all of it. */
function show(entry) {
  if (!incoming.length) {
    if (document.hidden) setTimeout(paint, 500);
    // Below what is being read; so a flood leaves time for keys.
    else if (!list.following) setTimeout(paint, 200);
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
  // Taken first: after an exception the next messages are painted.
  const [entries, missed] = [incoming, skipped];
  [incoming, skipped] = [[], 0];
  for (const { own } of entries) if (own) removeNode(own);
  spoken += entries.filter(({ message }) => message).length;
  if (spoken > SPOKEN_MAX) $("log").setAttribute("aria-live", "off");
  $("empty").hidden ||= entries.some(({ retract }) => !retract);
  list.add(entries, missed);
  groupSending();
}

/* Nothing moves under a pointer between press and release. */

let pressed = false;
let releasing;
const afterRelease = new Set();

/** Changes the page now, or when the pointer is up. */
function calmly(act) {
  pressed ? afterRelease.add(act) : act();
}

addEventListener("pointerdown", press, true);
for (const type of ["pointerup", "pointercancel"]) addEventListener(type, release, true);
// A release outside the window, or on a menu of the browser.
addEventListener("blur", release);
addEventListener("pointermove", ({ buttons }) => buttons || release());

function press({ button }) {
  releasing = clearTimeout(releasing);
  pressed ||= button === 0;
}

function release() {
  if (!pressed || releasing) return;
  // The click of a finger follows its release.
  releasing = setTimeout(() => {
    const acts = [...afterRelease];
    afterRelease.clear();
    pressed = releasing = undefined;
    // An exception in one does not stop the others.
    for (const act of acts) queueMicrotask(act);
  }, 50);
}

setInterval(() => {
  const busy = spoken > SPOKEN_MAX;
  $("spoken").textContent = busy ? text("news", { n: spoken }) : "";
  if (!busy) $("log").setAttribute("aria-live", "polite");
  spoken = 0;
}, 5_000);

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  unread = 0;
  document.title = "wschat";
});

function onNews(following, news) {
  if (following) keepFocus($("jump"), $("msg"));
  $("jump").hidden = following;
  $("jump").textContent = text(news ? "news" : "latest", { n: news });
}
on("jump", "click", () => list.jump());

/* The state of the connection, and its countdowns */

let retryAt;
/** Before `waitUntil` nothing is sent; a mute until `mutedUntil` can end earlier. */
let waitUntil;
let mutedUntil;

when("state", (change) => {
  dataset.state = change.state;
  calmly(() => showState(change));
});
when("notice", (notice) => calmly(() => ($("hint").textContent = reason(notice.err, notice))));
on("state-retry", "click", () => room.reconnect());

function showState({ state, retryAt: at, reason }) {
  retryAt = at;
  $("state-words").textContent = text(reason === "kicked" ? reason : state);
  if (state !== "waiting") keepFocus($("state-retry"), $("msg"));
  $("state-retry").hidden = state !== "waiting";
  count();
}

setInterval(() => pressed || count(), 1_000);

/** A wait was for a name and a token. */
function endWait() {
  waitUntil = mutedUntil = undefined;
  count();
}

function count() {
  for (const [name, until] of Object.entries({ retryIn: retryAt, wait: Math.max(waitUntil ?? 0, mutedUntil ?? 0) })) {
    const secs = Math.ceil((until - Date.now()) / 1_000);
    $(name).textContent = secs > 0 ? text(name, { in: secs }) : "";
  }
  const early = waitUntil > Date.now();
  for (const button of document.querySelectorAll(".again, .sendAs, .sendAnyway")) {
    if (early) keepFocus(button, $("msg"));
    button.disabled = early;
  }
}

/* Writing */

$("usr").value = forGood("name");
$("msg").value = inTab("draft");

on("usr", "input", nameChanged);
on("msg", "input", drafted);
on("composer", "submit", submit);
on("composer", "keydown", enter);
on("usr", "keydown", enter);

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
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight + 2}px`;
  const left = bytesLeft();
  const near = left < bytesMax / 5;
  $("left").textContent = near ? text(left < 0 ? "over" : "left", { bytes: Math.abs(left) }) : "";
  $("left").classList.toggle("bad", left < 0);
}

function nameChanged() {
  forGood("name", ownName());
  endWait();
}

const ownName = () => $("usr").value.trim();
const typed = () => ({ id: newId(), usr: ownName(), msg: $("msg").value });

/** Bytes that are left. */
function bytesLeft() {
  const message = JSON.stringify(outgoing(typed()));
  return bytesMax - new TextEncoder().encode(message).length;
}

const outgoing = ({ usr, msg, id }) => ({ usr, msg, id, jwt: inTab("token") || undefined });

function submit(event) {
  event.preventDefault();
  const entry = typed();
  $("hint").textContent = "";
  $("msg").focus();
  if (!entry.msg.trim() || waitUntil > Date.now() || bytesLeft() < 0) return;
  const [command, slash] = [COMMAND, SLASH_WORD].map((pattern) => pattern.exec(entry.msg)?.[1]);
  const word = command ?? slash;
  if (word) Object.assign(entry, { code: command ? "command" : "slash", word });
  showUnsent(entry);
  $("msg").value = "";
  drafted();
  if (!word) deliver(entry);
  list.jump();
}

/* Unsent and failed messages: { id, usr, msg, code, word, why, node } */

const unsent = [];
for (const entry of JSON.parse(inTab("unsent") || "[]")) {
  showUnsent({ ...entry, code: entry.code ?? "connection-lost" });
}

function showUnsent(entry) {
  entry.node = element("li", "");
  $("empty").hidden = true;
  $("unsent").append(entry.node);
  unsent.push(entry);
  fill(entry);
}

function keepUnsent() {
  inTab("unsent", JSON.stringify(unsent));
}

/** Shows the state of an entry, and stores it for a reload. */
function fill({ node, usr, msg, code, word, why }) {
  keepUnsent();
  keepFocus(node, $("msg"));
  const state = element("p", "why", code ? why ?? explain(code, word) : text("sending"));
  node.className = code ? "run failed" : "run sending";
  // One on its way looks as it will when it is sent, so that nothing moves then.
  const shown = code ? [body(msg)] : [element("div", "line", element("time", "", clock.format()), body(msg))];
  node.replaceChildren(nameTag(usr), ...shown, state);
  groupSending();
  if (!code) return;
  state.setAttribute("role", "alert");
  for (const act of actsFor(code)) {
    node.append(element("button", `quiet ${act}`, text(act, { who: safeName(tokenName()) })));
  }
  count();
}

/** No heading after a message of the same name. */
function groupSending() {
  unsent.forEach(({ node, usr, code }, index) => {
    const last = unsent[index - 1];
    const same = last ? !last.code && last.usr === usr : list.endsWith(usr);
    node.classList.toggle("same", !code && same);
  });
}

function forget(entry) {
  unsent.splice(unsent.indexOf(entry), 1);
  keepUnsent();
}

function removeNode({ node }) {
  keepFocus(node, $("msg"));
  node.remove();
}

async function deliver(entry) {
  entry.code = entry.word = entry.why = undefined;
  fill(entry);
  try {
    await room.send(outgoing(entry));
    mutedUntil = undefined;
  } catch ({ code, notice }) {
    entry.code = code;
    entry.why = reason(code, notice);
    const until = notice?.wait && Date.now() + 1_000 * notice.wait;
    if (until) code === "muted" ? (mutedUntil = until) : (waitUntil = until);
    calmly(() => fill(entry));
  }
}

/** The reason, translated, or else the server's text. */
function reason(code, notice) {
  return text("notSent", { why: text(code) ?? notice?.msg.replace("not sent: ", "") ?? code });
}

function explain(code, word) {
  return word ? text(code, { word }) : reason(code);
}

/** The name in the token. */
function tokenName() {
  return String(claims(inTab("token"))?.sub ?? "");
}

/** The buttons of a message that was not sent. */
function actsFor(code) {
  if (code === "command") return ["edit", "discard"];
  if (code === "slash") return ["sendAnyway", "edit", "discard"];
  const first = /^jwt/.test(code) ? ["token"] : code === "name-mismatch" && tokenName() ? ["sendAs"] : [];
  return [...first, "again", "edit", "discard"];
}

const ACTS = {
  token: () => $("settings").showModal(),
  /** With the name that stands there now. */
  again(entry) {
    if (!$("usr").reportValidity()) return;
    entry.usr = ownName();
    deliver(entry);
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

on("unsent", "click", ({ target }) => {
  const entry = unsent.find(({ node }) => node.contains(target));
  if (entry) ACTS[target.classList[1]]?.(entry);
});

/* The user's name */

function mentions(msg) {
  const name = ownName().replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
  return name && new RegExp(`(?<![\\p{L}\\p{N}_])${name}(?![\\p{L}\\p{N}_])`, "iu").test(msg);
}

let calledAt = 0;

/** Notifies of a message while the page is hidden; not too often. */
function callMe({ usr, msg }) {
  if (document.hasFocus() || Date.now() < calledAt + 2_000) return;
  calledAt = Date.now();
  try {
    if ($("notify").checked) new Notification(safeName(usr), { body: msg, icon: "icon.svg", tag: "wschat" });
  } catch {
    // It can be forbidden.
  }
  if (!$("sound").checked) return;
  const audio = new AudioContext();
  const tone = new OscillatorNode(audio, { frequency: 660 });
  const volume = new GainNode(audio, { gain: 0.1 });
  volume.gain.setTargetAtTime(0, 0, 0.1);
  tone.connect(volume).connect(audio.destination);
  tone.onended = () => audio.close();
  tone.start();
  tone.stop(0.5);
}

for (const id of ["notify", "sound"]) {
  $(id).checked = forGood(id);
  on(id, "click", () => forGood(id, $(id).checked ? "yes" : ""));
}
on("notify", "click", askPermission);
if (globalThis.Notification?.permission !== "granted") $("notify").checked = false;

/** Unticks the box if the browser refuses. */
async function askPermission() {
  $("refused").textContent = "";
  if (!$("notify").checked) return;
  const answer = await globalThis.Notification?.requestPermission();
  if ((answer ?? globalThis.Notification?.permission) === "granted") return;
  $("notify").checked = false;
  forGood("notify", "");
  $("refused").textContent = text("refused");
}

/* Settings */

on("settings-open", "click", () => $("settings").showModal());
on("settings-close", "click", () => $("settings").close());
on("settings", "close", takeToken);
on("token", "change", () => calmly(takeToken));
on("token-forget", "click", () => {
  inTab("token", "");
  showToken();
  endWait();
  $("token").focus();
});

$("theme").value = forGood("theme");
on("theme", "change", paintTheme);
paintTheme();

function paintTheme() {
  document.documentElement.style.colorScheme = $("theme").value;
  forGood("theme", $("theme").value);
}

function takeToken() {
  const token = $("token").value.replace(/\s/g, "");
  if (!token) return;
  $("token").value = "";
  inTab("token", token);
  showToken();
  $("usr").value ||= tokenName();
  nameChanged();
}

/** Shows the name and expiry of the token. */
function showToken() {
  const token = inTab("token");
  const { sub, exp } = claims(token) ?? {};
  const until = new Date(exp * 1_000);
  const when = until > 0 && until.toLocaleString(locale, { dateStyle: "medium", timeStyle: "short" });
  $("token-is").textContent = [
    token && !claims(token) && text("tokenOdd"),
    sub && text("tokenFor", { who: safeName(String(sub)) }),
    when && text(until > Date.now() ? "tokenUntil" : "tokenOver", { when }),
  ].filter(Boolean).join(" ");
  $("token-forget").disabled = !token;
}

/** The claims of a token (RFC 7519), unverified. */
function claims(token) {
  try {
    const part = atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(part, (char) => char.charCodeAt())));
  } catch {
    return undefined;
  }
}

// An on-screen keyboard that covers the page makes it shorter.
visualViewport.addEventListener("resize", () => {
  const { height, scale } = visualViewport;
  document.body.style.height = scale === 1 && height < innerHeight - 80 ? `${height}px` : "";
});

dataset.state = room.state;
showState(room);
showToken();
drafted();
$($("usr").value ? "msg" : "usr").focus();
