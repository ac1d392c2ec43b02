/**
 * What is shown of a message: names, texts, links.
 * The content of a message becomes text nodes only.
 */
import { element } from "./dom.js";

/** A longer text gets a scroll bar. */
const TALL_LINES = 16;
const TALL_CHARS = 1_500;

/** Never shown: control and bidi override characters. */
const HARMFUL = /[^\P{Cc}\n\t]|[\u202d\u202e]/gu;
/** In a name also invisible, line and direction characters, */
const HARMFUL_IN_NAME = /(?![\u200d\p{VS}])[\p{C}\p{DI}\p{Zl}\p{Zp}\u2800\ufffc\u{1d159}\u{13441}\u{13442}\u{16fe4}\u2d7f\u{1107f}\u{1bc9d}]/gu;
/** except joiners and variation selectors in emoji. */
const JOINERS = /(?<![\p{ExtPict}\p{EMod}]\ufe0f?)[\u200c\u200d\p{VS}]/gu;

/** Lines of which nothing can be seen, more than one. */
const BLANK_LINES = /\n(?:[\p{Z}\p{DI}\p{Cf}\t\u2800]*\n){2,}/gu;
const BLANK_ENDS = /^(?:[\p{Z}\p{DI}\p{Cf}\t\u2800]*\n)+|(?:\n[\p{Z}\p{DI}\p{Cf}\t\u2800]*)+$/gu;

/** Code: between three to nine backticks, or in one line between one or two. */
const CODE = /(?<!`)(?:(`{3,9})(?!`)[^]*?\1`*\n?|(`{1,2})(?!`)[^\n]*?[^`\n]\2(?!`))/g;
/** More pieces of code in one text are shown as text. */
const CODES_MAX = 200;

/** A name without deceptive characters. */
export const safeName = (usr) => usr.trim().replace(JOINERS, "").replace(HARMFUL_IN_NAME, "\ufffd");

/** A name in its own colour, isolated for direction. */
export function nameTag(usr) {
  const made = element("bdi", "who", safeName(usr) || "\ufffd");
  made.title = made.textContent;
  let hue = 0;
  for (const char of made.title) hue = ((hue + char.codePointAt()) * 137) % 360;
  made.style.setProperty("--hue", hue);
  return made;
}

/** A text with its code in monospace, backticks included, and its links as links. */
export function body(msg) {
  const shown = msg.replace(/\r\n?|[\p{Zl}\p{Zp}]/gu, "\n").replace(HARMFUL, "\ufffd").replace(BLANK_LINES, "\n\n").replace(BLANK_ENDS, "");
  const made = element("div", "text");
  made.dir = "auto";
  let end = 0;
  let codes = 0;
  for (const { 0: code, index } of shown.matchAll(CODE)) {
    if (++codes > CODES_MAX) break;
    made.append(...linked(shown.slice(end, index)), element("code", /\n./.test(code) ? "block" : "", code));
    end = index + code.length;
  }
  made.append(...linked(shown.slice(end)));
  if (shown.length > TALL_CHARS || shown.split("\n", TALL_LINES).length === TALL_LINES) {
    made.classList.add("tall");
    made.tabIndex = 0;
  }
  return made;
}

/** The parts of a text: its http and https links, and what is between them. */
export function linked(shown) {
  const parts = [];
  let end = 0;
  for (const { 0: found, index } of shown.matchAll(/\bhttps?:\/\/[^\s<>"\ufffd]+/giu)) {
    const address = trimLink(found);
    const url = parse(address);
    // User info before a host can imitate another host.
    if (!url || url.username || url.password) continue;
    const link = element("a", "", honest(address, url));
    link.href = url.href;
    link.rel = "noopener noreferrer";
    link.target = "_blank";
    parts.push(shown.slice(end, index), link);
    end = index + address.length;
  }
  return [...parts, shown.slice(end)];
}

/** An address whose host is the one where it leads: other letters can imitate it. */
function honest(address, { hostname, href }) {
  const [, typed] = /^https?:\/\/(\[[^\]]*\]|[^/?#\\:]*)/i.exec(address);
  return typed.toLowerCase() === hostname ? address : href;
}

/** The URL, or undefined. */
function parse(address) {
  try {
    return new URL(address);
  } catch {
    return undefined;
  }
}

/** Removes punctuation of the sentence around a link. */
function trimLink(address) {
  const surplus = { ")": 0, "]": 0 };
  for (const char of address) {
    if (char in surplus) surplus[char] += 1;
    else if (char === "(") surplus[")"] -= 1;
    else if (char === "[") surplus["]"] -= 1;
  }
  let end = address.length;
  for (; end > 0; end -= 1) {
    const last = address[end - 1];
    if (surplus[last] > 0) surplus[last] -= 1;
    else if (!/[.,;:!?'*_…»”’]/u.test(last)) break;
  }
  return address.slice(0, end);
}
