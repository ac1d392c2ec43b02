/** The list of messages: groups, days, scrolling. */
import { body, nameTag } from "./content.js";
import { element, isWall, keepFocus } from "./dom.js";
import { locale, text } from "./texts.js";

/** Messages on the page; and while the reader has scrolled up. */
const ROWS_MAX = 2_000;
const ROWS_MAX_READING = 6_000;
/** So long after a gesture a browser may still scroll as it was told before it. */
const STALE_SCROLL_MS = 500;

const format = (options) => new Intl.DateTimeFormat(locale, options);
export const clock = format({ timeStyle: "short" });
const day = format({ dateStyle: "full" });
const full = format({ dateStyle: "full", timeStyle: "medium" });

/** A `tim` in words. Those of one second are the same, and formatting takes long. */
function inWords(tim) {
  const second = tim.slice(0, 19);
  if (lastSecond.second === second) return lastSecond;
  // Not every browser parses nine digits of a second.
  const date = new Date(`${tim.slice(0, 23)}Z`);
  return (lastSecond = { second, today: day.format(date), minute: clock.format(date), exact: full.format(date) });
}
let lastSecond = {};

export class List {
  /** The elements, and `onNews(following, news)` for when these change. */
  #in;
  /** Whether to scroll to new messages. */
  #following = true;
  /** The scroll position that was last set or seen. */
  #top = 0;
  /** When the reader last meant to go up, unless down since then. */
  #upAt = 0;
  /** Counts: new below, on the page, removed. */
  #news = 0;
  #rows = 0;
  #left = 0;
  /** Whose messages each run has. */
  #users = new WeakMap();
  /** Consecutive messages of one sender: { usr, own, day, minute, node }. */
  #run = {};
  /** The line above what is new since the reader left. */
  #newLine;

  constructor(parts) {
    this.#in = parts;
    const { scroller } = parts;
    scroller.addEventListener("scroll", () => this.#look());
    this.#watchReader(scroller);
    document.addEventListener("copy", (event) => this.#copy(event));
    const resized = new ResizeObserver(() => this.#follow());
    for (const node of [scroller, ...scroller.children]) resized.observe(node);
  }

  /**
   * Adds [{ message, mention, hidden, own, isNew }], with { retract } and { gap } between them;
   * `isNew`: the first one since the reader left. `skipped` other messages are not shown.
   */
  add(entries, skipped) {
    for (const entry of entries) this.#addSafely(entry);
    if (!this.#following) this.#news += entries.filter(({ message, hidden }) => message && !hidden).length;
    this.#trim(skipped);
    this.#in.onNews(this.#following, this.#news);
    this.#follow();
  }

  /** Hides the message with this `tim`, without scrolling. */
  retract(tim) {
    const { scroller, list } = this.#in;
    const line = list.querySelector(`[datetime="${tim}"]`)?.parentNode;
    if (!line) return;
    this.#keep(this.#isAbove(line), () => {
      keepFocus(line, scroller);
      line.className = "line";
      line.lastChild.replaceWith(element("em", "text", text("retracted")));
    });
  }

  /** Shows the messages of everybody except the hidden ones; the first in view stays where it is. */
  hide(isHidden) {
    const { scroller, list } = this.#in;
    const { top } = scroller.getBoundingClientRect();
    const hides = (run) => this.#users.has(run) && isHidden(this.#users.get(run));
    const runs = [...list.querySelectorAll(".run")];
    const stays = runs.find((run) => !run.hidden && !hides(run) && run.getBoundingClientRect().bottom > top);
    const before = stays?.getBoundingClientRect().top;
    for (const run of runs) {
      run.hidden = hides(run);
      if (run.hidden) keepFocus(run, scroller);
    }
    if (stays && !this.#following) this.#scrollTo(scroller.scrollTop + stays.getBoundingClientRect().top - before);
    this.#follow();
  }

  /** Whose messages these are, of which a node is a part. */
  userOf(node) {
    return this.#users.get(node.closest(".run"));
  }

  /** The message that a node is a part of: { line, usr, tim, clock, words }; undefined if none. */
  messageOf(node) {
    const line = node.closest(".line");
    const time = line?.querySelector("time");
    if (!time) return undefined;
    const words = line.querySelector(".text").textContent;
    return { line, usr: this.userOf(line), tim: time.dateTime, clock: time.textContent, words };
  }

  /** The message so many below the one of a line, brought into view; without it the last in view. */
  step(line, count) {
    const { scroller, list } = this.#in;
    const times = [...list.querySelectorAll(".run:not([hidden]) time")];
    const { bottom } = scroller.getBoundingClientRect();
    const index = times.findIndex((time) => time.parentNode === line);
    const next = times[Math.max(0, index + count)];
    const found = index < 0 ? times.findLast((time) => time.getBoundingClientRect().top < bottom) : next ?? times[index];
    if (!found) return undefined;
    if (count) {
      this.#set(false);
      found.parentNode.scrollIntoView({ block: "nearest" });
    }
    return this.messageOf(found);
  }

  /** Who has spoken, the last one first. */
  get speakers() {
    const runs = [...this.#in.list.querySelectorAll(".run:not([hidden], .server)")].reverse();
    return runs.map((run) => this.#users.get(run)).filter(Boolean);
  }

  /** Whether it scrolls to new messages. */
  get following() {
    return this.#following;
  }

  /** The user of the last message, if it is an own one: the next gets no heading. */
  get lastUser() {
    return this.#run.own && this.#run.usr;
  }

  /** Removes the line above what is new. */
  endNew() {
    this.#newLine?.remove();
  }

  /** Scrolls to the end, and follows it. */
  jump() {
    if (this.#hasSelection()) getSelection().removeAllRanges();
    this.#set(true);
    this.#follow();
  }

  /** Stops following before the first movement: a message could undo it. */
  #watchReader(scroller) {
    const turn = (up) => {
      this.#upAt = up ? Date.now() : 0;
      if (up && scroller.scrollHeight > scroller.clientHeight) this.#set(false);
    };
    const passive = { passive: true };
    let finger;
    scroller.addEventListener("wheel", ({ deltaY, ctrlKey }) => ctrlKey || turn(deltaY < 0), passive);
    scroller.addEventListener("touchstart", ({ touches }) => (finger = touches[0].clientY), passive);
    scroller.addEventListener("touchmove", ({ touches }) => turn(touches[0].clientY > finger), passive);
    scroller.addEventListener("pointerdown", () => turn(false));
    scroller.addEventListener("keydown", ({ key, shiftKey, target }) => {
      turn(/^(ArrowUp|PageUp|Home)$/.test(key) || (key === " " && shiftKey));
      if (key === "End" && target === scroller) this.jump();
    });
    document.addEventListener("selectionchange", () => {
      if (this.#hasSelection()) this.#set(false);
      else if (!this.#following && this.#atEnd()) this.#set(true);
    });
  }

  #hasSelection() {
    const selection = getSelection();
    // It can begin above the list: all of the page is selected.
    return selection?.rangeCount && !selection.isCollapsed && selection.getRangeAt(0).intersectsNode(this.#in.list);
  }

  /** Copies several lines as one would write them: time, name and text. */
  #copy(event) {
    if (event.target.matches?.("input, textarea") || !this.#hasSelection()) return;
    const selected = getSelection().getRangeAt(0);
    const lines = [];
    for (const node of this.#in.list.querySelectorAll(".line, .day:not(.new)")) {
      if (!selected.intersectsNode(node)) continue;
      const part = document.createRange();
      part.selectNodeContents(node.querySelector(".text") ?? node);
      if (part.comparePoint(selected.startContainer, selected.startOffset) === 0) {
        part.setStart(selected.startContainer, selected.startOffset);
      }
      if (part.comparePoint(selected.endContainer, selected.endOffset) === 0) {
        part.setEnd(selected.endContainer, selected.endOffset);
      }
      const words = part.toString();
      if (!words.trim()) continue;
      const [time, who] = [node.querySelector("time"), node.parentNode.querySelector(".who")];
      lines.push(time ? `[${time.textContent}] ${who.textContent}: ${words}` : words);
    }
    if (lines.length < 2) return;
    event.clipboardData.setData("text/plain", lines.join("\n"));
    event.preventDefault();
  }

  #set(following) {
    // A wall always does.
    this.#following = following ||= isWall;
    if (following) this.#news = 0;
    this.#in.onNews(following, this.#news);
  }

  #follow() {
    if (this.#following) this.#scrollTo(this.#in.scroller.scrollHeight);
  }

  #scrollTo(top) {
    this.#in.scroller.scrollTop = top;
    this.#top = this.#in.scroller.scrollTop;
  }

  /** Whoever scrolls up leaves the end; only who scrolls down to it follows again. */
  #look() {
    const { scrollTop } = this.#in.scroller;
    if (scrollTop < this.#top && !this.#atEnd()) this.#set(false);
    if (scrollTop > this.#top && this.#atEnd() && Date.now() > this.#upAt + STALE_SCROLL_MS) this.#set(true);
    this.#top = scrollTop;
  }

  #atEnd() {
    const { scrollTop, scrollHeight, clientHeight } = this.#in.scroller;
    return scrollHeight - scrollTop - clientHeight < 2;
  }

  /** Says between two messages that some are missing here, or that new ones begin. */
  #divide(className, words) {
    const line = element("li", className, words);
    this.#in.list.append(line);
    this.#run = { day: this.#run.day };
    return line;
  }

  /** There is one such line; one that the reader sees stays where it is. */
  #beginNew() {
    const isSeen = this.#newLine?.isConnected && !this.#isAbove(this.#newLine);
    if (isSeen && !this.#following) return;
    this.#keep(true, () => this.endNew());
    this.#newLine = this.#divide("day new", text("newHere"));
  }

  #isAbove(node) {
    return node.getBoundingClientRect().bottom < this.#in.scroller.getBoundingClientRect().top;
  }

  /** One that cannot be shown costs only its own form, and not the others. */
  #addSafely(entry) {
    try {
      if (entry.retract) this.retract(entry.retract);
      else if (entry.gap) this.#divide("day", text("gap"));
      else this.#append(entry);
    } catch (error) {
      console.warn(error);
      if (!entry.message) return;
      const { usr, msg, tim } = entry.message;
      const plain = [usr, msg].map((part) => (typeof part === "string" ? part : JSON.stringify(part))).join(": ");
      // In one line, so that it cannot look like several messages.
      const words = element("div", "text", plain.replace(/[\p{Cc}\p{Zl}\p{Zp}\u202d\u202e]/gu, " "));
      const time = element("time", "same");
      time.dateTime = tim;
      const run = element("li", "run", element("div", "line", time, words));
      run.hidden = entry.hidden;
      this.#users.set(run, typeof usr === "string" ? usr : "");
      this.#in.list.append(run);
      this.#run = { day: this.#run.day };
    }
    if (entry.message) this.#rows += 1;
  }

  /** Changes nothing if it throws. */
  #append({ message: { usr, msg, tim }, mention, hidden, own, isNew }) {
    const { today, minute, exact } = inWords(tim);
    const { day: lastDay, ...last } = this.#run;
    const isOwn = Boolean(own);
    // Who uses the same name elsewhere gets a heading.
    const isSame = !isNew && usr === last.usr && isOwn === last.own && today === lastDay;
    const kind = isOwn ? "run own" : usr === "wschat" ? "run server" : "run";
    const node = isSame ? last.node : element("li", kind, nameTag(usr));
    const time = element("time", isSame && minute === last.minute ? "same" : "", minute);
    time.dateTime = tim;
    time.title = exact;
    const line = element("div", mention ? "line mention" : "line", time, body(msg));
    if (lastDay && today !== lastDay) this.#in.list.append(element("li", "day", today));
    if (isNew && this.#rows) this.#beginNew();
    if (!isSame) {
      node.hidden = hidden;
      this.#users.set(node, usr);
      this.#in.list.append(node);
    }
    node.append(line);
    this.#run = { usr, own: isOwn, day: today, minute, node };
  }

  /** Removes the oldest, without scrolling; counts those that were not shown with them. */
  #trim(skipped) {
    const bound = this.#following ? ROWS_MAX : ROWS_MAX_READING;
    // Each measurement of the list costs a layout.
    if (this.#rows <= bound && !skipped) return;
    this.#left += skipped;
    this.#keep(true, () => {
      // 5 % more, so that this is not needed for each message.
      if (this.#rows > bound) while (this.#rows > bound * 0.95) this.#dropOldest();
      this.#in.gone.hidden = !this.#left;
      this.#in.gone.textContent = text("gone", { n: this.#left });
    });
  }

  /** Keeps the scroll position when content `above` changes. */
  #keep(above, change) {
    if (!above || this.#following) return change();
    const { scroller } = this.#in;
    // Near the end the browser itself moves a list that becomes shorter.
    const { scrollTop, scrollHeight } = scroller;
    change();
    this.#scrollTo(scrollTop - scrollHeight + scroller.scrollHeight);
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
