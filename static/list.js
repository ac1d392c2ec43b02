/**
 * The list of messages: rows, groups and days, links, and the place where one
 * reads. Whatever a message holds becomes text nodes, and nothing else.
 */
import { language, text } from "./texts.js";

/** How many messages stay on the page, and how many may while one reads above. */
const ROWS_MAX = 2_000;
const ROWS_MAX_READING = 6_000;
/** A message longer than this, in characters or lines, is folded. */
const LONG_CHARS = 2_500;
const LONG_LINES = 25;

const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit" });
const full = new Intl.DateTimeFormat(language, { dateStyle: "full", timeStyle: "medium" });
const day = new Intl.DateTimeFormat(language, { dateStyle: "full" });

/** What must never reach the eye as it is: controls, and orders to reverse. */
const HARMFUL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202d\u202e]/gu;
/** In a name also what is invisible, or breaks the line or the direction. */
const HARMFUL_IN_NAME = /[\p{Cc}\p{Zl}\p{Zp}\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;

export const safeText = (value) => value.replace(/\r\n?/g, "\n").replace(HARMFUL, "\ufffd");
export const safeName = (value) => value.trim().replace(HARMFUL_IN_NAME, "\ufffd");

/** Shorthand: an element with a class and content. */
export function element(tag, className, ...content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...content);
  return made;
}

/** A hue for a name: the same everywhere and always (FNV-1a). */
function hue(name) {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  return (hash >>> 0) % 360;
}

/** The time of a `tim`; not every browser reads nine digits of a second. */
function localTime(tim) {
  const date = new Date(`${String(tim).slice(0, 23)}Z`);
  return Number.isNaN(date.getTime()) ? new Date() : date;
}

/** `<bdi class="who">` with the name in its colour, isolated for direction. */
export function nameTag(usr) {
  const shown = safeName(usr);
  const who = element("bdi", "who", shown);
  who.title = shown;
  who.style.setProperty("--hue", hue(usr.trim()));
  return who;
}

/** A text with its http and https links as links. */
export function body(value) {
  const made = element("div", "text");
  made.dir = "auto";
  const shown = safeText(value);
  let end = 0;
  for (const found of shown.matchAll(/\bhttps?:\/\/[^\s<>"\ufffd]+/giu)) {
    const address = trimLink(found[0]);
    const url = URL.canParse(address) ? new URL(address) : undefined;
    // A name before the host is how one host is made to look like another.
    if (!url || url.username || url.password) continue;
    const link = element("a", "", address);
    link.href = url.href;
    link.rel = "noopener noreferrer";
    link.target = "_blank";
    made.append(shown.slice(end, found.index), link);
    end = found.index + address.length;
  }
  made.append(shown.slice(end));
  if (shown.length > LONG_CHARS || shown.split("\n", LONG_LINES + 1).length > LONG_LINES) fold(made);
  return made;
}

/** Without the punctuation of the sentence around it. */
function trimLink(address) {
  for (;;) {
    const last = address.at(-1);
    const open = { ")": "(", "]": "[", "}": "{" }[last];
    const unpaired = open && address.split(open).length < address.split(last).length;
    if (!unpaired && !/[.,;:!?'*_~…«»“”‘’]/u.test(last)) return address;
    address = address.slice(0, -1);
  }
}

/** Shows the beginning only, and a button for the rest. */
function fold(made) {
  made.classList.add("folded");
  const button = element("button", "quiet", text("showAll"));
  button.type = "button";
  button.addEventListener("click", () => {
    made.classList.remove("folded");
    button.remove();
    made.tabIndex = -1;
    made.focus();
  });
  queueMicrotask(() => made.after(button));
}

export class List {
  #scroller;
  #list;
  #gone;
  /** Whether the newest message is in sight, and so shall the next be. */
  #following = true;
  #rows = 0;
  #left = 0;
  /** The last run of messages of one speaker: { usr, day, minute, node }. */
  #run;
  /** Called with how many came while one reads above. */
  #onNews;
  #news = 0;

  constructor({ scroller, list, gone, onNews }) {
    this.#scroller = scroller;
    this.#list = list;
    this.#gone = gone;
    this.#onNews = onNews;
    scroller.addEventListener("scroll", () => this.#look(), { passive: true });
    const resized = new ResizeObserver(() => this.follow());
    resized.observe(scroller);
    for (const child of scroller.children) resized.observe(child);
  }

  /** Adds messages in one go: [{ message, mention }]; `skipped` never came in. */
  add(entries, skipped = 0) {
    for (const entry of entries) this.#append(entry);
    this.#rows += entries.length;
    this.#left += skipped;
    this.#trim();
    if (!this.#following) this.#news += entries.length;
    this.#onNews(this.#following, this.#news);
    this.follow();
  }

  /** Keeps the newest in sight, if it was. */
  follow() {
    if (this.#following) this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  /** Goes to the newest. */
  jump() {
    this.#following = true;
    this.follow();
    this.#look();
  }

  #look() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    this.#following = scrollHeight - scrollTop - clientHeight < 48;
    if (this.#following) this.#news = 0;
    this.#onNews(this.#following, this.#news);
  }

  #append({ message, mention }) {
    const { usr, msg, tim } = message;
    const date = localTime(tim);
    const today = day.format(date);
    const minute = clock.format(date);
    if (today !== this.#run?.day) {
      if (this.#run) this.#list.append(element("li", "day", element("span", "", today)));
      this.#run = { day: today };
    }
    if (usr !== this.#run.usr) {
      this.#run = { usr, day: today, node: element("li", "run", nameTag(usr)) };
      if (usr === "wschat") this.#run.node.classList.add("server");
      this.#list.append(this.#run.node);
    }
    const time = element("time", minute === this.#run.minute ? "same" : "", minute);
    this.#run.minute = minute;
    time.dateTime = tim;
    time.title = full.format(date);
    this.#run.node.append(element("div", mention ? "line mention" : "line", time, body(msg)));
  }

  /** Lets the oldest go, without moving what is in sight. */
  #trim() {
    const bound = this.#following ? ROWS_MAX : ROWS_MAX_READING;
    if (this.#rows > bound) {
      const before = this.#scroller.scrollHeight;
      while (this.#rows > bound - bound / 20) this.#dropOldest();
      this.#tellLeft();
      if (!this.#following) this.#scroller.scrollTop -= before - this.#scroller.scrollHeight;
    } else if (this.#left) this.#tellLeft();
  }

  #dropOldest() {
    const first = this.#list.firstElementChild;
    const line = first.querySelector(".line");
    if (line) {
      // Focus inside would be lost with the row.
      if (line.contains(document.activeElement)) this.#scroller.focus({ preventScroll: true });
      line.remove();
      this.#rows -= 1;
      this.#left += 1;
    }
    if (!first.querySelector(".line")) first.remove();
  }

  #tellLeft() {
    this.#gone.textContent = text("gone", { n: this.#left });
    this.#gone.hidden = false;
  }
}
