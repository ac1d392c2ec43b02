// static/page/texts.js: every language has every text, with the same placeholders.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

const source = (name) => readFileSync(new URL(`../../static/${name}`, import.meta.url), "utf8");

/** The module in a browser with these languages. */
async function textsFor(...languages) {
  Object.defineProperty(globalThis, "navigator", { value: { languages }, configurable: true });
  return import(`../../static/page/texts.js?${languages}`);
}

/** The rows of the table: the name of a text, and the text in each language. */
function rows() {
  const [, table] = /const TEXTS = \{\n(.*?)\n\};/s.exec(source("page/texts.js"));
  return new Map(
    [...table.matchAll(/^ {2}"?([\w-]+)"?: \[(.*?)\],$/gms)].map(([, name, row]) => [
      name,
      [...row.matchAll(/"(.*?)"/g)].map(([, text]) => text),
    ]),
  );
}

const placeholders = (text) => [...new Set(text.match(/\{\w+\}/g))].sort();

test("every language has every text", () => {
  assert.ok(rows().size > 40);
  for (const [name, [english, ...others]] of rows()) {
    assert.equal(others.length, 2, name);
    for (const other of others) assert.deepEqual(placeholders(other), placeholders(english), name);
  }
});

test("every text that the page uses exists", () => {
  const names = rows();
  for (const [, name] of source("index.html").matchAll(/data-(?:text|label)="(\w+)"/g)) assert.ok(names.has(name), name);
  for (const file of readdirSync(new URL("../../static/page/", import.meta.url))) {
    for (const [, name] of source(`page/${file}`).matchAll(/\btext\("(\w+)"/g)) assert.ok(names.has(name), name);
  }
});

test("the first available language of the user is chosen", async () => {
  const cases = [
    [["de-AT", "en"], "de"],
    [["pl", "cs-CZ", "en"], "cs"],
    [["ja"], "en"],
    [[], "en"],
  ];
  for (const [wanted, chosen] of cases) assert.equal((await textsFor(...wanted)).language, chosen);
});

test("placeholders are filled in by the rules of the language", async () => {
  const cs = await textsFor("cs");
  assert.equal(cs.text("retryIn", { in: 1 }), "Další pokus za 1 sekundu");
  assert.equal(cs.text("retryIn", { in: 7 }), "Další pokus za 7 sekund");
  assert.equal(cs.text("left", { bytes: 2 }), "Zbývá: 2 bajty");
  const en = await textsFor("en");
  assert.equal(en.text("news", { n: 1234 }), "New messages: 1,234");
  assert.equal(en.text("wait", { in: 7 }), "You can send again in 7 seconds");
  assert.equal(en.text("wait", { in: 99 }), "You can send again in 99 seconds");
  assert.equal(en.text("wait", { in: 541 }), "You can send again in 10 minutes");
  assert.equal(en.text("notSent", { why: "$& {n}" }), "Not sent: $& {n}");
  assert.equal(en.text("no such text"), undefined);
});
