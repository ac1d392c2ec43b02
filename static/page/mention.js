/** Names in the draft: by a click on a name, or by Tab after @. */
import { safeName } from "./content.js";
import { $, on } from "./dom.js";
import { list } from "./messages.js";
import { ownName } from "./name.js";

/** What Tab has written: the names that follow, where they begin, and the draft with the last. */
let completion;

/** Writes the name where the cursor is. */
export function mention(usr) {
  const { value, selectionStart: from, selectionEnd: to } = $("msg");
  const space = /\S$/.test(value.slice(0, from)) ? " " : "";
  write(`${space}@${safeName(usr)} `, from, to);
  $("msg").focus();
}

on("list", "click", ({ target, detail }) => {
  // A double click selects the name, and so does a movement.
  if (detail > 1 || !getSelection().isCollapsed) return;
  if (target.matches(".run:not(.server) > .who")) mention(list.userOf(target));
});
on("msg", "keydown", (event) => {
  const { key, shiftKey, ctrlKey, altKey, metaKey, isComposing } = event;
  if (key !== "Tab" || shiftKey || ctrlKey || altKey || metaKey || isComposing) return;
  if (complete()) event.preventDefault();
});

/** Writes the next name that begins like the word at the cursor; after the last the word itself. */
function complete() {
  const { value, selectionStart: at, selectionEnd } = $("msg");
  if (completion?.value !== value || completion.at !== at || at !== selectionEnd) {
    const [, word] = /(?:^|\s)@(\S*)$/u.exec(value.slice(0, at)) ?? [];
    if (word === undefined || at !== selectionEnd) return false;
    const names = new Set(list.speakers.map(safeName));
    names.delete(safeName(ownName()));
    const begins = (name) => name.toLowerCase().startsWith(word.toLowerCase());
    completion = { word, from: at - word.length, names: [...names].filter(begins) };
  }
  const name = completion.names.shift();
  write(name ? `${name} ` : completion.word, completion.from, at);
  $("spoken").textContent = name ?? "";
  Object.assign(completion, { value: $("msg").value, at: $("msg").selectionStart });
  if (!name) completion = undefined;
  return Boolean(name);
}

function write(words, from, to) {
  $("msg").setRangeText(words, from, to, "end");
  $("msg").dispatchEvent(new Event("input", { bubbles: true }));
}
