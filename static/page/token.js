/** The token, which stays in this tab: only its claims are read here, unverified. */
import { $, inTab, on } from "./dom.js";
import { safeName } from "./content.js";
import { calmly } from "./pointer.js";
import { locale, text } from "./texts.js";

/** Also if the browser stores nothing. */
let stored = inTab("token");

/** The token, or an empty text. */
export const token = () => stored;

/** The name in the token. */
export const tokenName = () => String(claims(token())?.sub ?? "");

/** Whether it makes its bearer a moderator, by the claim that the server writes into the page. */
export function isModerator() {
  const { moderatorClaim } = document.documentElement.dataset;
  const its = claims(token());
  return Boolean(moderatorClaim) && its?.[moderatorClaim] === true;
}

/** Calls `act` after the token has changed. */
export const onToken = (act) => document.addEventListener("token", act);

on("settings", "close", takeToken);
on("token", "change", () => calmly(takeToken));
on("token-forget", "click", () => {
  setToken("");
  $("token").focus();
});
addEventListener("hashchange", takeLinked);
showToken();
takeLinked();

function takeToken() {
  const typed = $("token").value;
  $("token").value = "";
  setGiven(typed);
}

/** Takes `#token=` out of the address, which is shown, copied and stored by browsers. */
function takeLinked() {
  const parts = location.hash.slice(1).split("&");
  const linked = parts.filter((part) => part.startsWith("token="));
  if (!linked.length) return;
  const others = parts.filter((part) => !linked.includes(part)).join("&");
  history.replaceState(history.state, "", location.pathname + location.search + (others && `#${others}`));
  setGiven(new URLSearchParams(linked[0]).get("token"));
  // Nothing else says so while the settings are closed.
  $("hint").textContent = token() && !claims(token()) ? text("tokenOdd") : "";
}

function setGiven(value) {
  const given = value.replace(/\s/g, "");
  if (given) setToken(given);
}

function setToken(value) {
  stored = value;
  inTab("token", value);
  showToken();
  document.dispatchEvent(new Event("token"));
}

/** Shows the name and expiry of the token. */
function showToken() {
  const { sub, exp } = claims(token()) ?? {};
  const until = new Date(exp * 1_000);
  const date = until > 0 && until.toLocaleString(locale, { dateStyle: "medium", timeStyle: "short" });
  $("token-is").textContent = [
    token() && !claims(token()) && text("tokenOdd"),
    sub && text("tokenFor", { who: safeName(String(sub)) }),
    date && text(until > Date.now() ? "tokenUntil" : "tokenOver", { when: date }),
  ].filter(Boolean).join(" ");
  $("token-forget").disabled = !token();
}

/** The claims of a token (RFC 7519), unverified. */
function claims(jwt) {
  try {
    const part = atob(jwt.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(part, (char) => char.charCodeAt())));
  } catch {
    return undefined;
  }
}
