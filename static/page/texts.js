/** The languages of the page: one column in each row below. */
const LANGUAGES = ["en", "de", "cs"];

/** Every text of the page. {n} is a number, {in} "in 7 seconds", {secs} "7 seconds", {bytes} "7 bytes". */
const TEXTS = {
  messages: ["Messages", "Nachrichten", "Zprávy"],
  empty: [
    "Nothing has been said since you came.",
    "Seit du da bist, hat niemand etwas gesagt.",
    "Od vašeho příchodu nikdo nic neřekl.",
  ],
  emptySay: [
    "Nothing has been said since you came. Say hello!",
    "Seit du da bist, hat niemand etwas gesagt. Sag hallo!",
    "Od vašeho příchodu nikdo nic neřekl. Pozdravte!",
  ],
  here: ["{n} here", "{n} hier", "{n} tady"],
  notice: ["About this room", "Über diesen Raum", "O této místnosti"],
  gone: ["Older messages, no longer here: {n}", "Ältere Nachrichten, nicht mehr hier: {n}", "Starší zprávy, už tu nejsou: {n}"],
  news: ["New messages: {n}", "Neue Nachrichten: {n}", "Nové zprávy: {n}"],
  latest: ["Latest messages", "Neueste Nachrichten", "Nejnovější zprávy"],
  toMessage: ["Go to the message box", "Zum Eingabefeld", "Přejít k psaní zprávy"],
  name: ["Your name", "Dein Name", "Vaše jméno"],
  message: ["Message to everybody here", "Nachricht an alle hier", "Zpráva všem, kdo tu jsou"],
  send: ["Send", "Senden", "Odeslat"],
  left: ["{bytes} left", "Noch {bytes}", "Zbývá: {bytes}"],
  over: ["{bytes} too long", "{bytes} zu lang", "Delší o {bytes}"],
  wait: ["You can send again {in}", "Du kannst {in} wieder senden", "Znovu můžete odeslat {in}"],
  sendsIn: ["Will be sent {in}", "Wird {in} gesendet", "Odešle se {in}"],
  waits: ["Waiting to be sent", "Wartet darauf, gesendet zu werden", "Čeká na odeslání"],
  connecting: ["Connecting…", "Verbinde…", "Připojování…"],
  open: ["Connected", "Verbunden", "Připojeno"],
  waiting: ["Not connected.", "Nicht verbunden.", "Nepřipojeno."],
  retryIn: ["Next try {in}", "Nächster Versuch {in}", "Další pokus {in}"],
  retryNow: ["Try now", "Jetzt versuchen", "Zkusit hned"],
  sending: ["Sending…", "Wird gesendet…", "Odesílá se…"],
  again: ["Send again", "Noch einmal senden", "Odeslat znovu"],
  edit: ["Edit", "Ändern", "Upravit"],
  discard: ["Discard", "Verwerfen", "Zahodit"],
  sendAs: ["Send as {who}", "Als {who} senden", "Odeslat jako {who}"],
  sendAnyway: ["Send to everybody", "An alle senden", "Odeslat všem"],
  notSent: ["Not sent: {why}", "Nicht gesendet: {why}", "Neodesláno: {why}"],
  command: [
    "{word} is a command of “wschat join”. This page has no commands.",
    "{word} ist ein Befehl von „wschat join“. Diese Seite hat keine Befehle.",
    "{word} je příkaz programu „wschat join“. Tato stránka příkazy nemá.",
  ],
  slash: [
    "{word} looks like a command. Send it to everybody?",
    "{word} sieht wie ein Befehl aus. An alle senden?",
    "{word} vypadá jako příkaz. Odeslat všem?",
  ],
  "connection-lost": [
    "no answer came. It may have arrived or not.",
    "Es kam keine Antwort. Vielleicht ist sie angekommen.",
    "nepřišla odpověď. Možná dorazila.",
  ],
  "not-connected": ["there is no connection.", "Es besteht keine Verbindung.", "není spojení."],
  "too-late": ["it has waited too long.", "Sie hat zu lange gewartet.", "čekala příliš dlouho."],
  "too-big": ["it is too long.", "Sie ist zu lang.", "je příliš dlouhá."],
  "missing-usr": ["nothing of this name is visible.", "Von diesem Namen ist nichts zu sehen.", "z tohoto jména není nic vidět."],
  "name-reserved": ["this name belongs to the server.", "Dieser Name gehört dem Server.", "toto jméno patří serveru."],
  "name-mismatch": [
    "your token is for another name.",
    "Das Token gilt für einen anderen Namen.",
    "token je pro jiné jméno.",
  ],
  "jwt-missing": ["this room asks for a token.", "Dieser Raum verlangt ein Token.", "tato místnost žádá token."],
  "jwt-invalid": ["the token is not valid here.", "Das Token gilt hier nicht.", "token tu neplatí."],
  "jwt-expired": ["the token has expired.", "Das Token ist abgelaufen.", "platnost tokenu vypršela."],
  "jwt-revoked": ["the token has been revoked.", "Das Token wurde widerrufen.", "token byl odvolán."],
  "rate-limited": ["too fast.", "Zu schnell.", "příliš rychle."],
  "not-a-moderator": ["this token is not a moderator’s.", "Das Token ist keines der Moderation.", "token nepatří moderátorovi."],
  muted: ["you have been silenced.", "Du bist stummgeschaltet.", "byli jste umlčeni."],
  locked: ["only moderators may speak now.", "Jetzt spricht nur die Moderation.", "teď mluví jen moderátoři."],
  tokenNeeded: [
    "You need a token to speak here.",
    "Wer hier sprechen will, braucht ein Token.",
    "Kdo tu chce mluvit, potřebuje token.",
  ],
  tokenEnter: ["Enter a token", "Token eingeben", "Zadat token"],
  lockedNow: ["Only moderators may speak now.", "Jetzt spricht nur die Moderation.", "Teď mluví jen moderátoři."],
  slowNow: [
    "Slow mode: {secs} between your messages.",
    "Langsamer Modus. Abstand deiner Nachrichten: {secs}.",
    "Pomalý režim. Rozestup vašich zpráv: {secs}.",
  ],
  kicked: ["You were put out of the room.", "Du wurdest aus dem Raum gewiesen.", "Byli jste vykázáni z místnosti."],
  retracted: ["Message retracted", "Nachricht zurückgezogen", "Zpráva stažena"],
  newHere: ["New since you left", "Neu, seit du weg warst", "Nové od vašeho odchodu"],
  menu: ["Menu of a message", "Menü einer Nachricht", "Nabídka zprávy"],
  mention: ["Mention", "Erwähnen", "Zmínit"],
  copy: ["Copy", "Kopieren", "Kopírovat"],
  copied: ["Copied.", "Kopiert.", "Zkopírováno."],
  hide: ["Hide for me", "Für mich ausblenden", "Skrýt pro mě"],
  hidden: ["Hidden: {n} ({who})", "Ausgeblendet: {n} ({who})", "Skrytí: {n} ({who})"],
  showAgain: ["Show again", "Wieder zeigen", "Znovu ukázat"],
  retract: ["Retract", "Zurückziehen", "Stáhnout"],
  retractAll: ["Retract all of this person", "Alle dieser Person zurückziehen", "Stáhnout všechny od této osoby"],
  muteFor: ["Mute for {secs}", "Für {secs} stummschalten", "Umlčet na {secs}"],
  mute: ["Mute for good", "Dauerhaft stummschalten", "Umlčet natrvalo"],
  kick: ["Put out of the room", "Aus dem Raum weisen", "Vykázat z místnosti"],
  lock: ["Only moderators may speak", "Nur die Moderation darf sprechen", "Smějí mluvit jen moderátoři"],
  unlock: ["Everybody may speak", "Alle dürfen sprechen", "Smějí mluvit všichni"],
  slow: ["Wait between messages", "Pause zwischen Nachrichten", "Pauza mezi zprávami"],
  undo: ["Undo", "Rückgängig", "Vrátit zpět"],
  "did-mute": ["{who} can speak again {in}.", "{who} kann {in} wieder sprechen.", "{who} může znovu mluvit {in}."],
  didSilence: ["{who} can no longer speak.", "{who} kann nicht mehr sprechen.", "{who} už nemůže mluvit."],
  "did-unmute": ["{who} can speak again.", "{who} kann wieder sprechen.", "{who} může znovu mluvit."],
  "did-retract": ["Messages retracted: {n}.", "Zurückgezogene Nachrichten: {n}.", "Stažené zprávy: {n}."],
  "did-kick": ["{who} was put out (connections: {n}).", "{who} wurde hinausgewiesen (Verbindungen: {n}).", "Vykázáno: {who} (spojení: {n})."],
  notHere: ["{who} is not here.", "{who} ist nicht da.", "{who} tu není."],
  notDone: ["Not done: {why}", "Nicht getan: {why}", "Neprovedeno: {why}"],
  gap: ["Messages are missing here", "Hier fehlen Nachrichten", "Zde chybějí zprávy"],
  settings: ["Settings", "Einstellungen", "Nastavení"],
  token: ["Token", "Token", "Token"],
  tokenHelp: [
    "Some rooms let only those speak who have one. It stays in this tab.",
    "In manchen Räumen darf nur sprechen, wer eines hat. Es bleibt in diesem Tab.",
    "V některých místnostech smí mluvit jen ten, kdo ho má. Zůstane v této kartě.",
  ],
  tokenFor: ["Speaks for {who}.", "Spricht für {who}.", "Mluví za: {who}."],
  tokenUntil: ["Until {when}.", "Bis {when}.", "Platí do {when}."],
  tokenOver: ["It has expired.", "Es ist abgelaufen.", "Jeho platnost vypršela."],
  tokenOdd: ["This does not look like a token.", "Das sieht nicht wie ein Token aus.", "Jako token to nevypadá."],
  tokenForget: ["Forget the token", "Token vergessen", "Zapomenout token"],
  theme: ["Colours", "Farben", "Barvy"],
  themeSystem: ["Like the system", "Wie das System", "Podle systému"],
  themeLight: ["Light", "Hell", "Světlé"],
  themeDark: ["Dark", "Dunkel", "Tmavé"],
  notify: ["Notify me when my name is said", "Benachrichtigen, wenn mein Name fällt", "Upozornit, když padne mé jméno"],
  sound: ["Play a sound when my name is said", "Ton, wenn mein Name fällt", "Zvuk, když padne mé jméno"],
  refused: ["Your browser does not allow it here.", "Dein Browser erlaubt es hier nicht.", "Prohlížeč to tady nedovoluje."],
  done: ["Done", "Fertig", "Hotovo"],
};

/** The first of the browser's languages that has a column. */
export const language =
  navigator.languages.map((tag) => tag.slice(0, 2)).find((tag) => LANGUAGES.includes(tag)) ?? LANGUAGES[0];

/** For dates: the browser's own language and country, if it is a valid tag. */
export const locale = (() => {
  try {
    return Intl.getCanonicalLocales(navigator.language)[0] ?? language;
  } catch {
    return language;
  }
})();

const column = LANGUAGES.indexOf(language);
const unit = (value, name) => value.toLocaleString(language, { style: "unit", unit: name, unitDisplay: "long" });
/** "7 seconds". */
export function duration(secs) {
  return secs < 100 ? unit(secs, "second") : unit(Math.ceil(secs / 60), "minute");
}

const FORMATS = {
  n: (number) => number.toLocaleString(language),
  in: (secs) =>
    new Intl.RelativeTimeFormat(language).format(...(secs < 100 ? [secs, "second"] : [Math.ceil(secs / 60), "minute"])),
  secs: duration,
  bytes: (bytes) => unit(bytes, "byte"),
};

/** The text of this name, with its values; or undefined. */
export function text(name, places) {
  return TEXTS[name]?.[column].replace(/\{(\w+)\}/g, (_, key) => FORMATS[key]?.(places[key]) ?? places[key]);
}

/** Sets the text of elements with data-text or data-label. */
export function fillTexts() {
  document.documentElement.lang = language;
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = text(node.dataset.text);
  for (const node of document.querySelectorAll("[data-hint]")) node.placeholder = text(node.dataset.hint);
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", text(node.dataset.label));
}
