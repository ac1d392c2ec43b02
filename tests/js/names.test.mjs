// static/page/content.js: names are shown without invisible characters, by the server's data.
import assert from "node:assert/strict";
import { test } from "node:test";

Object.defineProperty(globalThis, "navigator", { value: { languages: ["en"] }, configurable: true });
Object.defineProperty(globalThis, "location", { value: { search: "" }, configurable: true });
const { safeName } = await import("../../static/page/content.js");

test("invisible characters of a name are replaced with a visible one", () => {
  const cases = [
    ["petr", "petr"],
    [" Ann Lee\u3000", "Ann Lee"],
    ["ann\u200b", "ann\ufffd"],
    ["bob\u202egnp", "bob\ufffdgnp"],
    ["a\u0007b\u009bc\u2028d\u2029e", "a\ufffdb\ufffdc\ufffdd\ufffde"],
    ["b\u034fo\u115fb\u3164", "b\ufffdo\ufffdb\ufffd"],
    ["b\ufff9o\ufffcb\u{1d159}\u2800", "b\ufffdo\ufffdb\ufffd\ufffd"],
    ["b\u2d7fo\u{1107f}b\u{1bc9d}", "b\ufffdo\ufffdb\ufffd"],
    ["b\uffffo\u{1bca0}b\u{e0041}\u{e0fff}", "b\ufffdo\ufffdb\ufffd\ufffd"],
    ["žluťoučký 漢字 عربي", "žluťoučký 漢字 عربي"],
  ];
  for (const [usr, shown] of cases) assert.equal(safeName(usr), shown, JSON.stringify(usr));
});

test("joiners and variation selectors are kept in emoji and removed elsewhere", () => {
  for (const emoji of ["❤\ufe0f", "👩‍👩‍👧", "🏳\ufe0f‍🌈", "🧑🏽‍🚀"]) assert.equal(safeName(`x${emoji}`), `x${emoji}`);
  for (const [usr, shown] of [
    ["b\u200do\u200cb\ufe0f", "bob"],
    ["\u{845b}\u{e0100}城", "\u{845b}城"],
    ["علی\u200cرضا", "علیرضا"],
    ["\u200d\ufe0e\u180b", ""],
    ["❤\ufe0f\ufe0f\ufe0f\u200d\u200d", "❤\ufe0f\ufe0f"],
  ]) assert.equal(safeName(usr), shown, JSON.stringify(usr));
});
