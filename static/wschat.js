/**
 * wschat.js: a wschat room for any page or script that has a WebSocket
 * (browsers, Node 22, Deno, Bun).
 *
 *     import { connect } from "./wschat.js";
 *
 *     const room = connect("ws://127.0.0.1:8080/");
 *     room.addEventListener("message", ({ detail }) => {
 *       console.log(detail.tim, detail.usr, detail.msg);
 *     });
 *     room.addEventListener("state", ({ detail }) => console.log(detail.state));
 *     await room.opened;
 *     const sent = await room.send({ usr: "ann", msg: "hello" });
 *     console.log("everybody has it since", sent.tim);
 *     room.close();
 *
 * How a message is known again. The server sends it to its sender too, with all
 * its fields. So `send` adds a random `id`; what comes back with it is the receipt.
 *
 * How an answer finds its message. A notice (`err`, maybe `wait`: seconds) or the
 * receipt of a command (`ack`) does not repeat it, and may overtake a message on
 * its way. So one message is under way at a time, the next leaves after it.
 *
 * How a dead connection is noticed. No script can see the server's pings. So
 * after `quietMs` of silence an empty text is sent, which the server answers by
 * a notice that nobody sees. Without an answer to it, or to a message, within
 * `answerMs` there is a new connection.
 */

/** The options; times in milliseconds. `WebSocket` replaces the global one. */
const DEFAULTS = {
  /** The first wait before connecting again; it doubles with each failure. */
  delayMinMs: 500,
  /** The longest; a random part of up to a half is taken off each. */
  delayMaxMs: 30_000,
  /** How long to wait for a connection or an answer. */
  answerMs: 20_000,
  /** How long silence is believed; Infinity: for ever. */
  quietMs: 25_000,
};

/** Opens the room at a ws: or wss: URL, and again when it breaks. */
export function connect(url, options) {
  return new Room(url, options);
}

/** A random text that nobody guesses (128 bits). */
export function newId() {
  return btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16)))).slice(0, 22);
}

/**
 * Why a message did not come back. `code` is the notice's `err`, or
 *   not-connected    it has not left this machine
 *   connection-lost  it was under way: it may have arrived or not
 *   too-big          the server closed the connection because of its size
 * and `notice` is the notice, if there was one.
 */
export class NotSent extends Error {
  name = "NotSent";

  constructor(code, notice) {
    super(notice?.msg ?? `not sent: ${code}`);
    this.code = code;
    this.notice = notice;
  }
}

/**
 * Its events are CustomEvents:
 *   message  detail: the message
 *   retract  detail: a message that takes back the one whose `tim` it has in
 *              `retract`
 *   notice   detail: a notice or receipt that is about no message of ours
 *   state    detail: { state, retryAt, code, reason }, where state is
 *              connecting
 *              open
 *              waiting  to connect again at `retryAt` (as Date.now() counts),
 *                       after a close with `code` and `reason`
 *              closed   by `close()`
 */
export class Room extends EventTarget {
  #url;
  #options;
  #socket;
  /** The timer of the present state: an answer, a look, the next try. */
  #timer;
  /** The message (or question) under way: { id, text, since, resolve, reject }. */
  #flight;
  /** Those that wait for their turn, oldest first. */
  #queue = [];
  /** Connections in a row that did not last. */
  #failures = 0;
  #openedAt = 0;
  #heardAt = 0;
  #whenOpen;

  /** Where the room is, as in the event. */
  state = "connecting";
  /** Resolves when the connection is open for the first time. */
  opened = new Promise((resolve) => (this.#whenOpen = resolve));

  constructor(url, options) {
    super();
    this.#url = url;
    this.#options = { ...DEFAULTS, ...options };
    this.#observe("addEventListener");
    this.#open();
  }

  /**
   * Sends { usr, msg, … } and gives the message as it came back, with `tim`;
   * rejects with NotSent. Several at once keep their order.
   */
  send(message) {
    if (this.state !== "open") return Promise.reject(new NotSent("not-connected"));
    const id = message.id ?? newId();
    return new Promise((resolve, reject) => {
      this.#queue.push({ id, text: JSON.stringify({ ...message, id }), resolve, reject });
      this.#next();
    });
  }

  /** Connects now instead of at `retryAt`. */
  reconnect() {
    if (this.state === "waiting") this.#open();
  }

  /** Leaves the room for good. */
  close() {
    this.#observe("removeEventListener");
    this.#drop();
    this.#become("closed");
  }

  /** For the browser: the network or the tab comes or goes. */
  handleEvent({ type }) {
    if (type === "offline") {
      if (this.state !== "waiting") this.#lose(1006, "offline");
    } else if (type === "online" || !document.hidden) {
      this.reconnect();
      if (this.state === "open" && Date.now() - this.#heardAt > 5_000) this.#ask();
    }
  }

  #observe(how) {
    for (const type of ["online", "offline", "pageshow"]) globalThis[how]?.(type, this);
    globalThis.document?.[how]("visibilitychange", this);
  }

  #open() {
    clearTimeout(this.#timer);
    const { answerMs, WebSocket = globalThis.WebSocket } = this.#options;
    const socket = (this.#socket = new WebSocket(this.#url));
    socket.onopen = () => {
      this.#openedAt = this.#heardAt = Date.now();
      clearTimeout(this.#timer);
      this.#timer = setInterval(() => this.#watch(), answerMs / 4);
      this.#become("open");
      this.#whenOpen();
    };
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code, reason }) => this.#lose(code, reason);
    socket.onerror = () => this.#lose(1006); // all that Node 20 says
    this.#timer = setTimeout(() => this.#lose(1006, "no answer"), answerMs);
    this.#become("connecting");
  }

  /** Sends what is next, if nothing is under way. */
  #next() {
    if (this.#flight || !this.#queue.length) return;
    this.#flight = { ...this.#queue.shift(), since: Date.now() };
    this.#socket.send(this.#flight.text);
  }

  /** Asks for a sign of life, unless one is awaited already. */
  #ask() {
    if (this.#flight) return;
    this.#queue.push({ text: "" });
    this.#next();
  }

  #receive(data) {
    this.#heardAt = Date.now();
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return; // not a wschat server
    }
    const flight = this.#flight;
    // Nobody else is called so; in what others say these fields mean nothing.
    const server = message.usr === "wschat";
    const answer = server && (message.err ?? message.ack);
    if (flight && (answer || (flight.id && flight.id === message.id))) {
      this.#flight = undefined;
      if (answer && message.err) flight.reject?.(new NotSent(message.err, message));
      else flight.resolve?.(message);
    }
    if (!answer) this.#tell(server && message.retract ? "retract" : "message", message);
    else if (!flight) this.#tell("notice", message);
    this.#next();
  }

  /** Looks, every few seconds, whether the other end is still there. */
  #watch() {
    const { answerMs, quietMs } = this.#options;
    const now = Date.now();
    if (this.#flight && now - this.#flight.since > answerMs) this.#lose(1006, "no answer");
    else if (now - this.#heardAt > quietMs) this.#ask();
  }

  /** The connection is gone: waits, longer each time, and tries again. */
  #lose(code, reason) {
    const { delayMinMs, delayMaxMs } = this.#options;
    const lasted = this.state === "open" && Date.now() - this.#openedAt > 10_000;
    this.#failures = lasted ? 0 : this.#failures + 1;
    const delay = Math.min(delayMaxMs, delayMinMs * 2 ** this.#failures) * (1 - Math.random() / 2);
    this.#drop(code);
    this.#timer = setTimeout(() => this.#open(), delay);
    this.#become("waiting", { retryAt: Date.now() + delay, code, reason });
  }

  /** Lets go of the socket and of everything that was under way on it. */
  #drop(code) {
    clearTimeout(this.#timer); // also ends an interval
    if (this.#socket) {
      for (const type of ["open", "message", "close", "error"]) this.#socket[`on${type}`] = null;
      this.#socket.close();
    }
    this.#flight?.reject?.(new NotSent(code === 1009 ? "too-big" : "connection-lost"));
    for (const { reject } of this.#queue) reject?.(new NotSent("not-connected"));
    this.#flight = undefined;
    this.#queue = [];
  }

  #become(state, more) {
    this.state = state;
    this.#tell("state", { state, ...more });
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
