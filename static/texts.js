/**
 * Every text of the page, a table per language. To add one, copy `en` and
 * translate; what is missing is taken from there. Where a number decides, the
 * forms stand beside each other: one|few|other (Intl.PluralRules).
 */
const en = {
  messages: "Messages",
  empty: "Nothing has been said since you came.",
  gone: "One older message is no longer here.|{n} older messages are no longer here.",
  news: "One new message|{n} new messages",
  latest: "Latest messages",
  name: "Name",
  message: "Message",
  send: "Send",
  left: "One byte left|{n} bytes left",
  over: "One byte too long|{n} bytes too long",
  wait: "Wait one second|Wait {n} seconds",
  connecting: "Connecting…",
  open: "Connected",
  waiting: "Not connected.",
  retryIn: "Next try in one second|Next try in {n} seconds",
  retryNow: "Try now",
  sending: "Sending…",
  again: "Send again",
  edit: "Edit",
  notSent: "Not sent: {why}",
  "connection-lost": "no answer came. It may have arrived or not.",
  "not-connected": "there is no connection.",
  "too-big": "it is too long.",
  "name-reserved": "this name belongs to the server.",
  "name-mismatch": "your token is for another name.",
  "jwt-missing": "this room asks for a token.",
  "jwt-invalid": "the token is not valid here.",
  "jwt-expired": "the token has expired.",
  "rate-limited": "too fast.",
  settings: "Settings",
  token: "Token",
  tokenHelp: "Some rooms let only those speak who have one. It stays in this tab.",
  tokenFor: "Speaks for {who}.",
  tokenUntil: "Until {when}.",
  tokenOver: "It has expired.",
  tokenOdd: "This does not look like a token.",
  tokenForget: "Forget the token",
  theme: "Colours",
  themeSystem: "Like the system",
  themeLight: "Light",
  themeDark: "Dark",
  notify: "Notify me, with a sound, when my name is said",
  done: "Done",
};

const de = {
  messages: "Nachrichten",
  empty: "Seit du da bist, hat niemand etwas gesagt.",
  gone: "Eine ältere Nachricht ist nicht mehr hier.|{n} ältere Nachrichten sind nicht mehr hier.",
  news: "Eine neue Nachricht|{n} neue Nachrichten",
  latest: "Neueste Nachrichten",
  name: "Name",
  message: "Nachricht",
  send: "Senden",
  left: "Noch ein Byte|Noch {n} Bytes",
  over: "Ein Byte zu lang|{n} Bytes zu lang",
  wait: "Warte eine Sekunde|Warte {n} Sekunden",
  connecting: "Verbinde…",
  open: "Verbunden",
  waiting: "Nicht verbunden.",
  retryIn: "Nächster Versuch in einer Sekunde|Nächster Versuch in {n} Sekunden",
  retryNow: "Jetzt versuchen",
  sending: "Wird gesendet…",
  again: "Noch einmal senden",
  edit: "Ändern",
  notSent: "Nicht gesendet: {why}",
  "connection-lost": "Es kam keine Antwort. Vielleicht ist sie angekommen.",
  "not-connected": "Es besteht keine Verbindung.",
  "too-big": "Sie ist zu lang.",
  "name-reserved": "Dieser Name gehört dem Server.",
  "name-mismatch": "Das Token gilt für einen anderen Namen.",
  "jwt-missing": "Dieser Raum verlangt ein Token.",
  "jwt-invalid": "Das Token gilt hier nicht.",
  "jwt-expired": "Das Token ist abgelaufen.",
  "rate-limited": "Zu schnell.",
  settings: "Einstellungen",
  tokenHelp: "In manchen Räumen darf nur sprechen, wer eines hat. Es bleibt in diesem Tab.",
  tokenFor: "Spricht für {who}.",
  tokenUntil: "Bis {when}.",
  tokenOver: "Es ist abgelaufen.",
  tokenOdd: "Das sieht nicht wie ein Token aus.",
  tokenForget: "Token vergessen",
  theme: "Farben",
  themeSystem: "Wie das System",
  themeLight: "Hell",
  themeDark: "Dunkel",
  notify: "Mit einem Ton benachrichtigen, wenn mein Name fällt",
  done: "Fertig",
};

const cs = {
  messages: "Zprávy",
  empty: "Od vašeho příchodu nikdo nic neřekl.",
  gone: "Jedna starší zpráva už tu není.|{n} starší zprávy už tu nejsou.|{n} starších zpráv už tu není.",
  news: "Jedna nová zpráva|{n} nové zprávy|{n} nových zpráv",
  latest: "Nejnovější zprávy",
  name: "Jméno",
  message: "Zpráva",
  send: "Odeslat",
  left: "Zbývá jeden bajt|Zbývají {n} bajty|Zbývá {n} bajtů",
  over: "O jeden bajt delší|O {n} bajty delší|O {n} bajtů delší",
  wait: "Počkejte sekundu|Počkejte {n} sekundy|Počkejte {n} sekund",
  connecting: "Připojování…",
  open: "Připojeno",
  waiting: "Nepřipojeno.",
  retryIn: "Další pokus za sekundu|Další pokus za {n} sekundy|Další pokus za {n} sekund",
  retryNow: "Zkusit hned",
  sending: "Odesílá se…",
  again: "Odeslat znovu",
  edit: "Upravit",
  notSent: "Neodesláno: {why}",
  "connection-lost": "nepřišla odpověď. Možná dorazila.",
  "not-connected": "není spojení.",
  "too-big": "je příliš dlouhá.",
  "name-reserved": "toto jméno patří serveru.",
  "name-mismatch": "token je pro jiné jméno.",
  "jwt-missing": "tato místnost žádá token.",
  "jwt-invalid": "token tu neplatí.",
  "jwt-expired": "platnost tokenu vypršela.",
  "rate-limited": "příliš rychle.",
  settings: "Nastavení",
  tokenHelp: "V některých místnostech smí mluvit jen ten, kdo ho má. Zůstane v této kartě.",
  tokenFor: "Mluví za: {who}.",
  tokenUntil: "Platí do {when}.",
  tokenOver: "Jeho platnost vypršela.",
  tokenOdd: "Jako token to nevypadá.",
  tokenForget: "Zapomenout token",
  theme: "Barvy",
  themeSystem: "Podle systému",
  themeLight: "Světlé",
  themeDark: "Tmavé",
  notify: "Upozornit se zvukem, když padne mé jméno",
  done: "Hotovo",
};

const TEXTS = { en, de, cs };

/** The first of the browser's languages that there is a table for. */
export const language = navigator.languages.map((tag) => tag.slice(0, 2)).find((tag) => TEXTS[tag]) ?? "en";

const plural = new Intl.PluralRules(language);
const number = new Intl.NumberFormat(language);

/** The text of that name, its places filled in; undefined if there is none. */
export function text(name, places = {}) {
  const forms = (TEXTS[language][name] ?? en[name])?.split("|");
  const form = forms && (forms[["one", "few"].indexOf(plural.select(places.n))] ?? forms.at(-1));
  return form?.replace(/\{(\w+)\}/g, (_, key) => (key === "n" ? number.format(places.n) : places[key]));
}

/** Fills every element that names its text: data-text, data-label. */
export function fillTexts() {
  document.documentElement.lang = language;
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = text(node.dataset.text);
  for (const node of document.querySelectorAll("[data-label]")) node.ariaLabel = text(node.dataset.label);
}
