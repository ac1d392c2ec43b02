/** The token, which stays in this tab: only its claims are read here, unverified. */
import { $, inTab, on } from "./dom.js";
import { safeName } from "./content.js";
import { calmly } from "./pointer.js";
import { locale, text } from "./texts.js";

/** The token, or an empty text. */
export const token = () => inTab("token");

/** The name in the token. */
export const tokenName = () => String(claims(token())?.sub ?? "");

/** Calls `act` after the token has changed. */
export const onToken = (act) => document.addEventListener("token", act);

on("settings", "close", takeToken);
on("token", "change", () => calmly(takeToken));
on("token-forget", "click", () => {
  setToken("");
  $("token").focus();
});
showToken();

function takeToken() {
  const typed = $("token").value.replace(/\s/g, "");
  if (!typed) return;
  $("token").value = "";
  setToken(typed);
}

function setToken(value) {
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
