/**
 * Messages on their way (without `code`), those that wait to be sent, and those that were not:
 * { id, usr, msg, code, word, why, node }.
 */
import { body, nameTag, safeName } from "./content.js";
import { $, element, inTab, keepFocus } from "./dom.js";
import { clock } from "./list.js";
import { text } from "./texts.js";
import { tokenName } from "./token.js";
import { count } from "./waits.js";

const unsent = [];
/** The user of the last message in the list above. */
let userAbove;

export function showUnsent(entry) {
  entry.node = element("li", "");
  $("empty").hidden = true;
  $("unsent").append(entry.node);
  unsent.push(entry);
  fill(entry);
}

for (const entry of JSON.parse(inTab("unsent") || "[]")) {
  showUnsent({ ...entry, code: entry.code ?? "connection-lost" });
}

/** The entry of this id, or that an element is in. */
export const unsentById = (id) => unsent.find((entry) => entry.id === id);
export const unsentAround = (target) => unsent.find(({ node }) => node.contains(target));
/** The first one that waits to be sent; and whether one is on its way. */
export const firstWaiting = () => unsent.find(({ code }) => code === "waits");
export const isSending = () => unsent.some(({ code }) => !code);

/** Shows the state of an entry, and stores it for a reload. */
export function fill({ node, usr, msg, code, word, why }) {
  keepUnsent();
  keepFocus(node, $("msg"));
  const state = element("p", "why", code ? why ?? explain(code, word) : text("sending"));
  node.className = code === "waits" ? "run waits own" : code ? "run failed" : "run sending";
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

/** The reason, translated, or else the server's text. */
export function reason(code, notice) {
  return text("notSent", { why: text(code) ?? notice?.msg.replace("not sent: ", "") ?? code });
}

/** No heading after a message of the same name. */
export function groupSending(above = userAbove) {
  userAbove = above;
  unsent.forEach(({ node, usr, code }, index) => {
    const last = unsent[index - 1];
    const same = last ? !last.code && last.usr === usr : above === usr;
    node.classList.toggle("same", !code && same);
  });
}

/** Its node stays until `removeNode`. */
export function forget(entry) {
  unsent.splice(unsent.indexOf(entry), 1);
  keepUnsent();
}

export function removeNode({ node }) {
  keepFocus(node, $("msg"));
  node.remove();
}

function keepUnsent() {
  inTab("unsent", JSON.stringify(unsent));
}

function explain(code, word) {
  return word || code === "waits" ? text(code, { word }) : reason(code);
}

/** The buttons of a message that was not sent. */
function actsFor(code) {
  if (code === "command" || code === "waits") return ["edit", "discard"];
  if (code === "slash") return ["sendAnyway", "edit", "discard"];
  const first = /^jwt/.test(code) ? ["token"] : code === "name-mismatch" && tokenName() ? ["sendAs"] : [];
  return [...first, "again", "edit", "discard"];
}
