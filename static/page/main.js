/**
 * The chat page. build.rs joins its modules into one script: their names at the top level
 * are different, and each import is one line.
 */
// First: a token leaves the address before anything else runs.
import "./token.js";
import "./composer.js";
import { $, forGood, on } from "./dom.js";
import "./menu.js";
import { fillTexts } from "./texts.js";

fillTexts();

on("settings-open", "click", () => $("settings").showModal());
on("settings-close", "click", () => $("settings").close());

// Past the links of the messages, without a change of the address.
on("skip", "click", toMessage);
on("scroller", "keydown", (event) => event.key === "Escape" && toMessage(event));

function toMessage(event) {
  event.preventDefault();
  $("msg").focus();
}

$("theme").value = forGood("theme");
on("theme", "change", paintTheme);
paintTheme();

function paintTheme() {
  document.documentElement.style.colorScheme = $("theme").value;
  forGood("theme", $("theme").value);
}

// An on-screen keyboard that covers the page makes it shorter.
visualViewport.addEventListener("resize", () => {
  const { height, scale } = visualViewport;
  document.body.style.height = scale === 1 && height < innerHeight - 80 ? `${height}px` : "";
});
