// static/texts.js: every language says everything, with the same places.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const source = (name) => readFileSync(new URL(`../../static/${name}`, import.meta.url), "utf8");

/** The module as a browser of these languages gets it. */
async function textsFor(...languages) {
  Object.defineProperty(globalThis, "navigator", { value: { languages }, configurable: true });
  return import(`../../static/texts.js?${languages}`);
}

/** The names of a table, with its texts. */
function table(language) {
  const [, body] = new RegExp(`const ${language} = \\{\\n(.*?)\\n\\};`, "s").exec(source("texts.js"));
  return new Map([...body.matchAll(/^ {2}"?([\w-]+)"?: "(.*)",$/gm)].map(([, name, text]) => [name, text]));
}

const places = (text) => [...new Set(text.match(/\{\w+\}/g))].sort();

for (const language of ["de", "cs"]) {
  test(`${language} has all texts`, () => {
    const english = table("en");
    const other = table(language);
    for (const [name, text] of english) {
      // What is the same word in both is not said twice.
      const translated = other.get(name) ?? text;
      assert.deepEqual(places(translated), places(text), name);
      const forms = text.includes("|") ? new Intl.PluralRules(language).resolvedOptions().pluralCategories : [0];
      // `many` is for broken numbers, and there are none here.
      assert.equal(translated.split("|").length, forms.filter((form) => form !== "many").length, name);
    }
    assert.deepEqual([...other.keys()].filter((name) => !english.has(name)), []);
  });
}

test("every text that the page names is there", () => {
  const names = new Set(table("en").keys());
  for (const [, name] of source("index.html").matchAll(/data-(?:text|label)="(\w+)"/g)) assert.ok(names.has(name), name);
  for (const file of ["page.js", "list.js"]) {
    for (const [, name] of source(file).matchAll(/\btext\("(\w+)"/g)) assert.ok(names.has(name), name);
  }
});

test("the first language of the reader that there is", async () => {
  const cases = [
    [["de-AT", "en"], "de"],
    [["pl", "cs-CZ", "en"], "cs"],
    [["ja"], "en"],
    [[], "en"],
  ];
  for (const [wanted, chosen] of cases) assert.equal((await textsFor(...wanted)).language, chosen);
});

test("numbers choose their form", async () => {
  const cs = await textsFor("cs");
  assert.equal(cs.text("news", { n: 1 }), "Jedna nová zpráva");
  assert.equal(cs.text("news", { n: 3 }), "3 nové zprávy");
  assert.equal(cs.text("news", { n: 5 }), "5 nových zpráv");
  const en = await textsFor("en");
  assert.equal(en.text("news", { n: 1234 }), "1,234 new messages");
  assert.equal(en.text("notSent", { why: "$& {n}" }), "Not sent: $& {n}");
  assert.equal(en.text("no such text"), undefined);
});
