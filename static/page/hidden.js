/** People whose messages this tab does not show. */
import { safeName } from "./content.js";
import { $, inTab, on } from "./dom.js";
import { text } from "./texts.js";

/** As they are shown, because others can look the same. */
let hiddenNames = JSON.parse(inTab("hidden") || "[]");
showHidden();

export const isHidden = (usr) => hiddenNames.length > 0 && typeof usr === "string" && hiddenNames.includes(safeName(usr));
export const hide = (usr) => setHidden([...hiddenNames, safeName(usr)]);

/** Calls `act` after somebody is hidden or shown again. */
export const onHidden = (act) => document.addEventListener("hidden", act);

on("hidden-end", "click", () => {
  $("msg").focus();
  setHidden([]);
});

function setHidden(names) {
  hiddenNames = names;
  inTab("hidden", JSON.stringify(names));
  showHidden();
  document.dispatchEvent(new Event("hidden"));
}

function showHidden() {
  $("hidden").hidden = !hiddenNames.length;
  $("hidden-who").textContent = text("hidden", { n: hiddenNames.length, who: hiddenNames.join(", ") });
}
