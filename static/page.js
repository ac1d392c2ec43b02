/**
 * The chat page: ties the room (wschat.js), the list (list.js) and the texts
 * (texts.js) to index.html.
 *
 * What is kept where. In this tab (sessionStorage): the token, the draft, and
 * what is not sent yet. For good (localStorage): name, theme, notifications.
 */
import { connect, newId } from "./wschat.js";
import { List, body, element, nameTag, safeName } from "./list.js";
import { fillTexts, hasText, language, text } from "./texts.js";

/** What a server takes unless it is told otherwise: limits.message_bytes_max. */
const MESSAGE_BYTES_MAX = 16_384;
/** From here on what is left is shown. */
const MESSAGE_BYTES_NEAR = MESSAGE_BYTES_MAX * 0.8;
/** More messages than this in five seconds are not read aloud one by one. */
const SPOKEN_MAX = 5;

const $ = (id) => document.getElementById(id);

fillTexts(document);

// Storage may be forbidden; then things are forgotten, and nothing breaks.
const kept = (storage) => ({
  get(key) {
    try {
      return storage().getItem(`wschat.${key}`) ?? "";
    } catch {
      return "";
    }
  },
  set(key, value) {
    try {
      if (value) storage().setItem(`wschat.${key}`, value);
      else storage().removeItem(`wschat.${key}`);
    } catch {
      // Full or forbidden.
    }
  },
});
const tab = kept(() => sessionStorage);
const profile = kept(() => localStorage);

/* ---- The room ---- */

const here = new URL("./", location.href);
here.protocol = here.protocol === "https:" ? "wss:" : "ws:";
const room = connect(here);
const list = new List({ scroller: $("scroller"), list: $("list"), gone: $("gone"), onNews: showNews });

let incoming = [];
let skipped = 0;
let painting = false;

room.addEventListener("message", ({ detail: message }) => {
  const own = settle(message);
  const mention = !own && mentions(message);
  incoming.push({ message, mention });
  // The list would let them go at once: a hidden page in a busy room.
  if (incoming.length > 4_000) skipped += incoming.splice(0, 2_000).length;
  if (!own) countUnread();
  if (mention) callMe(message);
  if (painting) return;
  painting = true;
  if (document.hidden) setTimeout(paint, 250);
  else requestAnimationFrame(paint);
});
room.addEventListener("notice", ({ detail }) => hint(reason(detail.err, detail)));
room.addEventListener("state", ({ detail }) => showState(detail));

function paint() {
  painting = false;
  $("empty").hidden = true;
  calm(incoming.length);
  list.add(incoming, skipped);
  incoming = [];
  skipped = 0;
}

let spoken = 0;

/** While the room is busy, how much was said is announced instead of all of it. */
function calm(count) {
  spoken += count;
  if (spoken > SPOKEN_MAX) $("log").setAttribute("aria-live", "off");
}
setInterval(() => {
  const busy = spoken > SPOKEN_MAX;
  $("spoken").textContent = busy ? text("news", { n: spoken }) : "";
  if (!busy) $("log").setAttribute("aria-live", "polite");
  spoken = 0;
}, 5_000);

/* ---- The state of the connection ---- */

/** When the next try is, and until when we are too fast (as Date.now() counts). */
let retryAt = 0;
let waitUntil = 0;

function showState({ state, retryAt: at = 0 }) {
  document.body.dataset.state = state;
  $("state-words").textContent = text(state);
  $("state-retry").hidden = state !== "waiting";
  if (state !== "waiting" && document.activeElement === $("state-retry")) $("msg").focus();
  retryAt = at;
  count();
}
$("state-retry").addEventListener("click", () => {
  $("msg").focus();
  room.reconnect();
});

/** What counts down, each second: the next try, and being too fast. */
function count() {
  const seconds = (until) => Math.max(0, Math.ceil((until - Date.now()) / 1000));
  const retry = seconds(retryAt);
  $("state-wait").textContent = retry ? text("retryIn", { n: retry }) : "";
  const slow = seconds(waitUntil);
  if (slow) hint(text("wait", { n: slow }));
  else if (waitUntil) {
    waitUntil = 0;
    hint("");
  }
  for (const button of document.querySelectorAll(".again")) button.disabled = slow > 0;
}
setInterval(count, 1_000);

/* ---- Writing ---- */

$("usr").value = profile.get("name");
$("msg").value = tab.get("draft");

$("usr").addEventListener("input", () => profile.set("name", $("usr").value.trim()));
$("usr").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.isComposing) return;
  event.preventDefault();
  $("msg").focus();
});
$("msg").addEventListener("input", drafted);
$("msg").addEventListener("keydown", (event) => {
  // An input method's Enter picks a word (229: Safari, which tells it late).
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  submit();
});
$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});

function drafted() {
  const box = $("msg");
  tab.set("draft", box.value);
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight + box.offsetHeight - box.clientHeight}px`;
  const size = bytes(box.value);
  const left = MESSAGE_BYTES_MAX - size;
  $("left").textContent =
    size < MESSAGE_BYTES_NEAR ? "" : left < 0 ? text("over", { n: -left }) : text("left", { n: left });
  $("left").classList.toggle("over", left < 0);
  list.follow();
}

const outgoing = ({ usr, msg, id }) => ({ usr, msg, id, jwt: tab.get("token") || undefined });
const bytes = (msg) =>
  new TextEncoder().encode(JSON.stringify(outgoing({ usr: $("usr").value.trim(), msg, id: newId() }))).length;

function submit() {
  const usr = $("usr").value.trim();
  const msg = $("msg").value;
  if (!msg.trim()) return $("msg").focus();
  if (!usr) {
    hint(text("nameFirst"));
    return $("usr").focus();
  }
  if (waitUntil > Date.now() || bytes(msg) > MESSAGE_BYTES_MAX) return drafted();
  hint("");
  const entry = { id: newId(), usr, msg };
  unsent.push(entry);
  $("msg").value = "";
  drafted();
  show(entry);
  deliver(entry);
  list.jump();
  $("msg").focus();
}

function hint(words) {
  if ($("hint").textContent !== words) $("hint").textContent = words;
}

/* ---- What is under way, and what failed: { id, usr, msg, why, node } ---- */

const unsent = [];
try {
  for (const { id, usr, msg, why } of JSON.parse(tab.get("unsent") || "[]")) {
    const entry = { id, usr, msg, why: why || text("reloaded") };
    unsent.push(entry);
    show(entry);
  }
} catch {
  // Not ours; overwritten with the next.
}

function remember() {
  tab.set("unsent", unsent.length ? JSON.stringify(unsent.map(({ id, usr, msg, why }) => ({ id, usr, msg, why }))) : "");
}

async function deliver(entry) {
  entry.why = undefined;
  fill(entry);
  remember();
  try {
    await room.send(outgoing(entry));
  } catch ({ code, notice }) {
    if (!unsent.includes(entry)) return;
    entry.why = reason(code, notice);
    if (code === "rate-limited") {
      waitUntil = Date.now() + 1000 * waitSeconds(notice);
      count();
    }
    fill(entry);
    remember();
    if (/^jwt-/.test(code)) openSettings();
  }
}

/** The seconds to wait that a notice tells. */
const waitSeconds = ({ msg, wait_secs }) => Number(wait_secs ?? /(\d+) ?s/.exec(msg)?.[1] ?? 1);

/** Why not, in the reader's language, or else in the server's words. */
const reason = (code, notice) =>
  text("notSent", { why: hasText(code) ? text(code) : (notice?.msg.replace(/^not sent: /, "") ?? code) });

function show(entry) {
  entry.node = element("li");
  $("unsent").append(entry.node);
  fill(entry);
}

function fill({ node, usr, msg, why }) {
  keepFocus(node);
  const state = element("p", "why", why ?? text("sending"));
  node.className = why ? "run failed" : "run sending";
  node.replaceChildren(nameTag(usr), body(msg), state);
  if (!why) return;
  state.setAttribute("role", "alert");
  const again = element("button", "quiet again", text("again"));
  const edit = element("button", "quiet edit", text("edit"));
  again.type = edit.type = "button";
  again.disabled = waitUntil > Date.now();
  node.append(again, edit);
  list.follow();
}

$("unsent").addEventListener("click", ({ target }) => {
  const entry = unsent.find(({ node }) => node.contains(target));
  if (target.classList.contains("again")) deliver(entry);
  if (target.classList.contains("edit")) {
    $("msg").value = [entry.msg, $("msg").value].filter(Boolean).join("\n");
    remove(entry);
    drafted();
    $("msg").focus();
  }
});

/** Takes a message of ours that came back off the list; says whether it was. */
function settle({ id }) {
  const entry = id && unsent.find((one) => one.id === id);
  if (entry) remove(entry);
  return Boolean(entry);
}

function remove(entry) {
  keepFocus(entry.node);
  entry.node.remove();
  unsent.splice(unsent.indexOf(entry), 1);
  remember();
}

/** Focus must not vanish with what had it. */
function keepFocus(node) {
  if (node.contains(document.activeElement)) $("msg").focus();
}

/* ---- Being there ---- */

let unread = 0;

function countUnread() {
  if (document.hidden) document.title = `(${++unread}) wschat`;
}
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  unread = 0;
  document.title = "wschat";
});

function showNews(following, news) {
  const jump = $("jump");
  if (following && document.activeElement === jump) $("msg").focus();
  jump.hidden = following;
  jump.textContent = news ? text("news", { n: news }) : text("latest");
}
$("jump").addEventListener("click", () => {
  list.jump();
  $("msg").focus();
});

/** Whether a message says our name, as a word of its own. */
function mentions({ msg }) {
  const name = $("usr").value.trim();
  if (!name) return false;
  const word = name.replace(/[^\p{L}\p{N}]/gu, "\\$&");
  try {
    return new RegExp(`(?<![\\p{L}\\p{N}_])${word}(?![\\p{L}\\p{N}_])`, "iu").test(msg);
  } catch {
    return msg.includes(name);
  }
}

/** Notification and sound, if they are wanted and nobody looks. */
function callMe({ usr, msg }) {
  if (document.hasFocus() || !$("notify").checked) return;
  try {
    new Notification(safeName(usr).slice(0, 80), { body: msg.slice(0, 200), icon: "icon.svg", tag: "wschat" });
  } catch {
    // Some browsers have the class, and do not let a page use it.
  }
  if ($("sound").checked) beep();
}

let audio;

function beep() {
  audio ??= new AudioContext();
  const tone = audio.createOscillator();
  const volume = audio.createGain();
  tone.frequency.value = 660;
  volume.gain.setValueAtTime(0.15, audio.currentTime);
  volume.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + 0.4);
  tone.connect(volume).connect(audio.destination);
  tone.start();
  tone.stop(audio.currentTime + 0.4);
}

/* ---- Settings ---- */

$("theme").value = profile.get("theme");
$("theme").addEventListener("change", () => {
  profile.set("theme", $("theme").value);
  paintTheme();
});
function paintTheme() {
  document.documentElement.dataset.theme = $("theme").value;
}
paintTheme();

for (const id of ["notify", "sound"]) {
  $(id).checked = profile.get(id) === "yes";
  $(id).addEventListener("change", () => profile.set(id, $(id).checked ? "yes" : ""));
}
$("sound").addEventListener("change", () => $("sound").checked && beep());
$("notify").addEventListener("change", async () => {
  if (!$("notify").checked) return;
  const answer = await globalThis.Notification?.requestPermission();
  if (answer === "granted") return;
  $("notify").checked = false;
  profile.set("notify", "");
  $("notify-no").textContent = text("notifyNo");
});

function openSettings() {
  if (!$("settings").open) $("settings").showModal();
}
$("settings-open").addEventListener("click", openSettings);
$("settings-close").addEventListener("click", () => $("settings").close());
$("settings").addEventListener("click", (event) => {
  if (event.target === $("settings")) $("settings").close();
});
$("settings").addEventListener("close", takeToken);
$("token").addEventListener("change", takeToken);
$("token").addEventListener("keydown", ({ key }) => key === "Enter" && takeToken());
$("token-forget").addEventListener("click", () => {
  tab.set("token", "");
  showToken();
  $("token").focus();
});
showToken();

function takeToken() {
  const token = $("token").value.replace(/\s+/g, "");
  if (!token) return;
  $("token").value = "";
  tab.set("token", token);
  const { sub } = claims(token) ?? {};
  if (typeof sub === "string" && !$("usr").value.trim()) {
    $("usr").value = sub;
    profile.set("name", sub);
  }
  showToken();
}

/** For whom the token speaks, and until when; that it is right, nobody says here. */
function showToken() {
  const token = tab.get("token");
  const found = token && claims(token);
  const words = [];
  if (found) {
    words.push(found.sub ? text("tokenFor", { who: safeName(String(found.sub)) }) : text("tokenAny"));
    if (found.exp > 0) {
      const until = new Date(found.exp * 1000);
      const when = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
      words.push(until < Date.now() ? text("tokenOver") : text("tokenUntil", { when: when.format(until) }));
    }
  } else if (token) words.push(text("tokenOdd"));
  $("token-is").textContent = words.join(" ");
  $("token-forget").hidden = !token;
}

/** The claims of a token (RFC 7519), unverified; undefined if it is none. */
function claims(token) {
  try {
    const part = atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"));
    const found = JSON.parse(new TextDecoder().decode(Uint8Array.from(part, (c) => c.charCodeAt(0))));
    return typeof found === "object" && found ? found : undefined;
  } catch {
    return undefined;
  }
}

/* ---- The on-screen keyboard, where a browser lays it over the page ---- */

visualViewport?.addEventListener("resize", () => {
  document.documentElement.style.setProperty("--height", `${visualViewport.height * visualViewport.scale}px`);
});

showState(room);
drafted();
if (!matchMedia("(pointer: coarse)").matches) $($("usr").value ? "msg" : "usr").focus();
