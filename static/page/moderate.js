/** What moderators do, and what became of it. */
import { safeName } from "./content.js";
import { $, element, on } from "./dom.js";
import { ownName } from "./name.js";
import { calmly } from "./pointer.js";
import { room } from "./room.js";
import { duration, text } from "./texts.js";
import { isModerator, token, tokenName } from "./token.js";

/** The values of slow mode, in seconds. */
const SLOW_SECS = [0, 5, 10, 30, 60];

/** The command that takes back the last one. */
let undoCommand;

/** Sends commands at once, and shows what became of each. */
export async function moderate(...commands) {
  say("");
  const said = await Promise.all(commands.map(command));
  const muted = commands.find(({ mute }, index) => mute && said[index].done);
  calmly(() => say(said.map(({ words }) => words).join(" "), muted && { unmute: muted.mute }));
}

/** Shows what was done. */
export function say(words, undo) {
  undoCommand = undo;
  $("did").textContent = words;
  $("undo").hidden = !undo;
}

on("undo", "click", () => {
  $("msg").focus();
  moderate(undoCommand);
});
on("composer", "submit", () => say(""));
on("settings-open", "click", () => ($("room-acts").hidden = !isModerator()));
on("settings", "close", () => ($("room-acts").hidden = true));
addAct(text("lockedNow"), { lock: true });
addAct(text("unlock"), { unlock: true });
$("room-acts").append(element("p", "", text("slow")));
for (const slow of SLOW_SECS) addAct(duration(slow), { slow });

/** Adds a button for the whole room; it closes the settings, which cover what is said. */
function addAct(words, cmd) {
  const button = element("button", "quiet", words);
  button.addEventListener("click", () => {
    $("settings").close();
    moderate(cmd);
  });
  $("room-acts").append(button);
}

/** Sends one; returns whether it was done, and that in words. */
async function command(cmd) {
  const [verb] = Object.keys(cmd);
  const { [verb]: whom, secs } = cmd;
  const who = safeName(String(whom?.name ?? whom));
  try {
    const { met } = await room.send({ usr: ownName() || tokenName(), jwt: token(), cmd });
    return { done: true, words: done(verb, whom, { who, n: met, in: secs }) };
  } catch ({ code, notice }) {
    if (notice?.met === 0) return { words: verb === "kick" ? text("notHere", { who }) : done(verb, whom, { n: 0 }) };
    return { words: text("notDone", { why: text(code) ?? notice?.msg.replace(/^not \w+: /, "") ?? code }) };
  }
}

/** What was done, in words. */
function done(verb, whom, values) {
  if (verb === "slow") return `${text("slow")}: ${duration(whom)}`;
  if (verb === "lock") return text("lockedNow");
  if (verb === "unlock") return text("unlock");
  if (verb === "mute" && !values.in) return text("didSilence", values);
  return text(verb === "retract" && !whom.name ? "retracted" : `did-${verb}`, values);
}
