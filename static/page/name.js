/** The user's name, and messages that mention it. */
import { $, forGood, on } from "./dom.js";
import { safeName } from "./content.js";
import { text } from "./texts.js";

export const ownName = () => $("usr").value.trim();

export function mentions(msg) {
  // As it was typed, or as others see and mention it.
  const names = [ownName(), safeName(ownName())].map((name) => name.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"));
  return names[0] && new RegExp(`(?<![\\p{L}\\p{N}_])(?:${names.join("|")})(?![\\p{L}\\p{N}_])`, "iu").test(msg);
}

let calledAt = 0;

/** Notifies of a message while the page is hidden; not too often. */
export function callMe({ usr, msg }) {
  if (document.hasFocus() || Date.now() < calledAt + 2_000) return;
  calledAt = Date.now();
  try {
    if ($("notify").checked) new Notification(safeName(usr), { body: msg, icon: "icon.svg", tag: "wschat" });
  } catch {
    // It can be forbidden.
  }
  if (!$("sound").checked) return;
  const audio = new AudioContext();
  const tone = new OscillatorNode(audio, { frequency: 660 });
  const volume = new GainNode(audio, { gain: 0.1 });
  volume.gain.setTargetAtTime(0, 0, 0.1);
  tone.connect(volume).connect(audio.destination);
  tone.onended = () => audio.close();
  tone.start();
  tone.stop(0.5);
}

for (const id of ["notify", "sound"]) {
  $(id).checked = forGood(id);
  on(id, "click", () => forGood(id, $(id).checked ? "yes" : ""));
}
on("notify", "click", askPermission);
if (globalThis.Notification?.permission !== "granted") $("notify").checked = false;

/** Unticks the box if the browser refuses. */
async function askPermission() {
  $("refused").textContent = "";
  if (!$("notify").checked) return;
  const answer = await globalThis.Notification?.requestPermission();
  if ((answer ?? globalThis.Notification?.permission) === "granted") return;
  $("notify").checked = false;
  forGood("notify", "");
  $("refused").textContent = text("refused");
}
