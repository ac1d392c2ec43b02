/**
 * The list of messages: groups, days, links, and the place where one reads.
 * Whatever a message holds becomes text nodes, and nothing else.
 */
import { language, text } from "./texts.js";

/** How many messages stay on the page, and how many while one reads above. */
const ROWS_MAX = 2_000;
const ROWS_MAX_READING = 6_000;
/** A text that is longer scrolls by itself. */
const TALL_LINES = 30;
const TALL_CHARS = 3_000;

const format = (options) => new Intl.DateTimeFormat(language, options);
const clock = format({ timeStyle: "short" });
const day = format({ dateStyle: "full" });
const full = format({ dateStyle: "full", timeStyle: "medium" });

/** Never shown as it is: controls, and orders to reverse. */
const HARMFUL = /[^\P{Cc}\n\t]|[\u202d\u202e]/gu;
/** In a name also what is invisible, or breaks line or direction, */
const HARMFUL_IN_NAME = /(?![\u200d\p{VS}])[\p{C}\p{DI}\p{Zl}\p{Zp}\u2800\ufffc\u{1d159}\u{13441}\u{13442}\u{16fe4}\u2d7f\u{1107f}\u{1bc9d}]/gu;
/** but for what joins and varies, which only emoji keep. */
const JOINERS = /(?<![\p{ExtPict}\p{EMod}]\ufe0f?)[\u200c\u200d\p{VS}]/gu;

/** A name that is what it looks like. */
export const safeName = (usr) => usr.trim().replace(JOINERS, "").replace(HARMFUL_IN_NAME, "\ufffd");

/** An element with a class and content. */
export function element(tag, className, ...content) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...content);
  return made;
}

/** Gives the focus on, if it would vanish with what has it. */
export function keepFocus(node, heir) {
  if (node.contains(document.activeElement)) heir.focus({ preventScroll: true });
}

/** A name in its own colour, isolated for direction. */
export function nameTag(usr) {
  const made = element("bdi", "who", safeName(usr));
  made.title = made.textContent;
  let hue = 0;
  for (const char of made.title) hue = ((hue + char.codePointAt()) * 137) % 360;
  made.style.setProperty("--hue", hue);
  return made;
}

/** A text with its http and https links as links. */
export function body(msg) {
  const shown = msg.replace(/\r\n?/g, "\n").replace(HARMFUL, "\ufffd");
  const made = element("div", "text");
  made.dir = "auto";
  let end = 0;
  for (const { 0: found, index } of shown.matchAll(/\bhttps?:\/\/[^\s<>"\ufffd]+/giu)) {
    const address = trimLink(found);
    const url = URL.canParse(address) && new URL(address);
    // A name before the host is how one host is made to look like another.
    if (!url || url.username || url.password) continue;
    const link = element("a", "", address);
    link.href = url.href;
    link.rel = "noopener noreferrer";
    link.target = "_blank";
    made.append(shown.slice(end, index), link);
    end = index + address.length;
  }
  made.append(shown.slice(end));
  if (shown.length > TALL_CHARS || shown.split("\n", TALL_LINES).length === TALL_LINES) {
    made.classList.add("tall");
    made.tabIndex = 0;
  }
  return made;
}

/** Without the punctuation of the sentence around it. */
function trimLink(address) {
  const last = address.at(-1);
  const open = { ")": "(", "]": "[" }[last];
  const unpaired = open && address.split(open).length < address.split(last).length;
  return unpaired || /[.,;:!?'*_…»”’]/u.test(last) ? trimLink(address.slice(0, -1)) : address;
}

export class List {
  /** The elements, and `onNews(following, news)` for when these change. */
  #in;
  /** Whether the newest is in sight, and so shall the next be. */
  #following = true;
  /** How many came while one reads above, are here, have left. */
  #news = 0;
  #rows = 0;
  #left = 0;
  /** The last messages of one speaker in a row: { usr, day, minute, node }. */
  #run;

  constructor(parts) {
    this.#in = parts;
    const { scroller } = parts;
    scroller.addEventListener("scroll", () => this.#look());
    const resized = new ResizeObserver(() => this.#follow());
    for (const node of [scroller, ...scroller.children]) resized.observe(node);
  }

  /** Adds [{ message, mention }] in one go; `skipped` more were never shown. */
  add(entries, skipped) {
    for (const entry of entries) this.#append(entry);
    this.#rows += entries.length;
    this.#left += skipped;
    this.#trim();
    if (!this.#following) this.#news += entries.length;
    this.#in.onNews(this.#following, this.#news);
    this.#follow();
  }

  /** Takes back the message of that `tim`; what is in sight does not move. */
  retract(tim) {
    const { scroller, list } = this.#in;
    const line = list.querySelector(`[datetime="${tim}"]`)?.parentNode;
    if (!line) return;
    const above = line.getBoundingClientRect().bottom < scroller.getBoundingClientRect().top;
    this.#keep(above, () => {
      keepFocus(line, scroller);
      line.className = "line";
      line.lastChild.replaceWith(element("em", "text", text("retracted")));
    });
  }

  /** Goes to the newest. */
  jump() {
    this.#following = true;
    this.#follow();
    this.#look();
  }

  #follow() {
    if (this.#following) this.#in.scroller.scrollTop = this.#in.scroller.scrollHeight;
  }

  #look() {
    const { scrollTop, scrollHeight, clientHeight } = this.#in.scroller;
    this.#following = scrollHeight - scrollTop - clientHeight < 48;
    if (this.#following) this.#news = 0;
    this.#in.onNews(this.#following, this.#news);
  }

  #append({ message: { usr, msg, tim }, mention }) {
    // Not every browser reads nine digits of a second.
    const date = new Date(`${tim.slice(0, 23)}Z`);
    const today = day.format(date);
    const minute = clock.format(date);
    if (today !== this.#run?.day) {
      if (this.#run) this.#in.list.append(element("li", "day", today));
      this.#run = { day: today };
    }
    if (usr !== this.#run.usr) {
      const node = element("li", usr === "wschat" ? "run server" : "run", nameTag(usr));
      this.#run = { usr, day: today, node };
      this.#in.list.append(this.#run.node);
    }
    const time = element("time", minute === this.#run.minute ? "same" : "", minute);
    time.dateTime = tim;
    time.title = full.format(date);
    this.#run.minute = minute;
    this.#run.node.append(element("div", mention ? "line mention" : "line", time, body(msg)));
  }

  /** Lets the oldest go; what is in sight does not move. */
  #trim() {
    const bound = this.#following ? ROWS_MAX : ROWS_MAX_READING;
    this.#keep(true, () => {
      // A twentieth more, so that it is not done for each message.
      if (this.#rows > bound) while (this.#rows > bound * 0.95) this.#dropOldest();
      this.#in.gone.hidden = !this.#left;
      this.#in.gone.textContent = text("gone", { n: this.#left });
    });
  }

  /** Keeps what is in sight where it is, if what changes is `above` it. */
  #keep(above, change) {
    const { scroller } = this.#in;
    const before = scroller.scrollHeight;
    change();
    if (above && !this.#following) scroller.scrollTop -= before - scroller.scrollHeight;
  }

  #dropOldest() {
    const first = this.#in.list.firstElementChild;
    const line = first.querySelector(".line");
    keepFocus(first, this.#in.scroller);
    if (line) {
      line.remove();
      this.#rows -= 1;
      this.#left += 1;
    }
    if (!first.querySelector(".line")) first.remove();
  }
}
