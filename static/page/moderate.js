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
  // Nothing else on the page ends a mute, so an undo that failed can be tried again.
  const left = commands.find(({ mute, unmute }, index) => (mute ? said[index].done : unmute && !said[index].done));
  calmly(() => say(said.map(({ words }) => words).join(" "), left && { unmute: left.mute ?? left.unmute }));
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
on("settings-open", "click", showActs);
on("settings", "close", () => ($("room-acts").hidden = true));
/** The buttons for the whole room, each with a function that tells whether it is so now. */
const roomActs = new Map();
addAct(text("lock"), { lock: true }, ({ locked }) => locked);
addAct(text("unlock"), { unlock: true }, ({ locked }) => !locked);
$("room-acts").append(element("p", "", text("slow")));
for (const secs of SLOW_SECS) addAct(duration(secs), { slow: secs }, ({ slow }) => slow === secs);

/** Shows them to moderators; what is in force is pressed, if the server tells it. */
function showActs() {
  $("room-acts").hidden = !isModerator();
  for (const [button, isSo] of roomActs) button.ariaPressed = room.presence ? isSo(room.presence) : null;
}

/** Adds a button; it closes the settings, which cover what is said. */
function addAct(words, cmd, isSo) {
  const button = element("button", "quiet", words);
  roomActs.set(button, isSo);
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
    // It may have been done.
    return { done: /^(connection-lost|unknown)$/.test(code) && !cmd.unmute, words: text("notDone", { why: text(code) ?? notice?.msg.replace(/^not \w+: /, "") ?? code }) };
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
