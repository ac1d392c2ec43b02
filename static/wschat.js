/**
 * wschat.js: a wschat room for any page or script. No dependencies; runs in
 * browsers, and wherever else there is a WebSocket (Node 22, Deno, Bun).
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
 * How a message is known again. The server sends every message to everybody,
 * its sender included, and passes unknown fields on. So `send` adds a random
 * `id`, and the message that comes back with it is the receipt. Nobody else
 * can know the id before.
 *
 * How a notice finds its message. A notice (a message with `err`) goes to the
 * sender alone and does not repeat the input; and it may overtake an earlier
 * message that is on its way through the room. So only one message is under
 * way at a time, the next leaves when that one is answered, and a notice is
 * always about the one under way.
 *
 * How a dead connection is noticed. A script cannot see the server's pings.
 * After `quietMs` without a word it sends an empty text, which every server
 * answers by a `bad-json` notice to this connection alone. What is not
 * answered in `answerMs`, this or a message, is a dead connection.
 */

/** Times in milliseconds, and what a test may want to replace. */
const DEFAULTS = {
  /** The first wait before connecting again; it doubles with each failure. */
  delayMinMs: 500,
  /** The longest wait; each is cut by a random part of up to a half. */
  delayMaxMs: 30_000,
  /** How long to wait for a connection or an answer. */
  answerMs: 20_000,
  /** How long silence is believed before it is asked about; 0: for ever. */
  quietMs: 25_000,
  /** The class to use, where the global one is not wanted. */
  WebSocket: undefined,
};

/** Opens a room at a ws: or wss: URL; it stays open until `close()`. */
export function connect(url, options) {
  return new Room(url, options);
}

/** A random text of 22 characters that nobody guesses. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return btoa(String.fromCharCode(...bytes)).replace(/=+$/, "");
}

/**
 * Why a message did not come back. `code` is the notice's `err`, or
 *  `not-connected`    it has not left this machine
 *  `connection-lost`  it was under way: it may have arrived or not
 *  `too-big`          the server closed the connection because of its size
 */
export class NotSent extends Error {
  constructor(code, notice) {
    super(notice?.msg ?? `not sent: ${code}`);
    this.name = "NotSent";
    this.code = code;
    /** The server's notice, if there was one. */
    this.notice = notice;
  }
}

/**
 * Events (each a CustomEvent):
 *  `message`  detail: the message, as it was parsed from JSON
 *  `notice`   detail: a notice that no message of ours is the reason of
 *  `state`    detail: { state, retryAt, code, reason }
 * State is one of
 *  `connecting`, `open`,
 *  `waiting`  until `retryAt` (as Date.now() counts), because of a close `code`
 *  `closed`   by `close()`, for good
 */
export class Room extends EventTarget {
  #whenOpen;
  #url;
  #options;
  #socket;
  /** The message or question under way: { id, text, since, resolve, reject }. */
  #flight;
  /** What waits for its turn, oldest first. */
  #queue = [];
  #failures = 0;
  #timer;
  /** When the connection was opened, and when something was last heard. */
  #since = 0;
  #heard = 0;

  /** Where the room is. */
  state = "connecting";
  /** Resolves when the connection is open for the first time. */
  opened = new Promise((resolve) => (this.#whenOpen = resolve));

  constructor(url, options) {
    super();
    this.#url = String(url);
    this.#options = { ...DEFAULTS, ...options };
    for (const name of ["online", "offline", "pageshow"]) {
      globalThis.addEventListener?.(name, this);
    }
    globalThis.document?.addEventListener("visibilitychange", this);
    this.#open();
  }

  /**
   * Sends { usr, msg, … }, and gives the message as it came back, with `tim`.
   * Rejects with NotSent. Several calls keep their order.
   */
  send(message) {
    if (this.state !== "open") return Promise.reject(new NotSent("not-connected"));
    const id = message.id ?? newId();
    const text = JSON.stringify({ ...message, id });
    return new Promise((resolve, reject) => {
      this.#queue.push({ id, text, resolve, reject });
      this.#next();
    });
  }

  /** Connects at once instead of waiting any longer. */
  reconnect() {
    if (this.state === "waiting") this.#open();
  }

  /** Closes the room for good. */
  close() {
    for (const name of ["online", "offline", "pageshow"]) {
      globalThis.removeEventListener?.(name, this);
    }
    globalThis.document?.removeEventListener("visibilitychange", this);
    this.#drop(1000);
    this.#become("closed", { code: 1000 });
  }

  /** The machine's network or the tab comes or goes (EventListener). */
  handleEvent({ type }) {
    if (type === "offline") {
      if (this.state !== "waiting") this.#lose(1006, "offline");
    } else if (globalThis.document?.visibilityState !== "hidden") {
      this.reconnect();
      if (this.state === "open" && Date.now() - this.#heard > 5_000) this.#ask();
    }
  }

  #open() {
    clearTimeout(this.#timer);
    const Socket = this.#options.WebSocket ?? globalThis.WebSocket;
    const socket = new Socket(this.#url);
    this.#socket = socket;
    this.#timer = setTimeout(() => this.#lose(1006, "no answer"), this.#options.answerMs);
    socket.onopen = () => {
      this.#since = this.#heard = Date.now();
      clearTimeout(this.#timer);
      this.#timer = setInterval(() => this.#watch(), Math.min(5_000, this.#options.answerMs / 4));
      this.#become("open");
      this.#whenOpen();
    };
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code, reason }) => this.#lose(code, reason);
    socket.onerror = () => {}; // a close follows, and says more
    this.#become("connecting");
  }

  /** Sends what waits, if nothing is under way. */
  #next() {
    if (this.#flight || this.state !== "open" || !this.#queue.length) return;
    this.#flight = this.#queue.shift();
    this.#flight.since = Date.now();
    this.#socket.send(this.#flight.text);
  }

  /** Asks the server for a sign of life. */
  #ask() {
    if (this.#flight) return;
    this.#queue.unshift({ text: "", resolve() {}, reject() {} });
    this.#next();
  }

  #receive(data) {
    this.#heard = Date.now();
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return; // not of this protocol
    }
    if (typeof message?.usr !== "string" || typeof message.msg !== "string") return;
    const flight = this.#flight;
    if (message.err !== undefined) {
      if (flight) {
        this.#flight = undefined;
        flight.reject(new NotSent(message.err, message));
      } else this.#tell("notice", message);
    } else {
      if (flight?.id !== undefined && message.id === flight.id) {
        this.#flight = undefined;
        flight.resolve(message);
      }
      this.#tell("message", message);
    }
    this.#next();
  }

  /** Looks, every few seconds, whether the other end is still there. */
  #watch() {
    const { answerMs, quietMs } = this.#options;
    const now = Date.now();
    if (this.#flight) {
      if (now - this.#flight.since > answerMs) this.#lose(1006, "no answer");
    } else if (quietMs && now - this.#heard > quietMs) this.#ask();
  }

  /** The connection is gone: waits a while, longer each time, and tries again. */
  #lose(code, reason) {
    const stood = this.state === "open" && Date.now() - this.#since > 10_000;
    this.#drop(code);
    this.#failures = stood ? 0 : this.#failures + 1;
    const { delayMinMs, delayMaxMs } = this.#options;
    const delay = Math.min(delayMaxMs, delayMinMs * 2 ** this.#failures) * (1 - Math.random() / 2);
    this.#timer = setTimeout(() => this.#open(), delay);
    this.#become("waiting", { retryAt: Date.now() + delay, code, reason });
  }

  /** Lets go of the socket and of everything that was under way on it. */
  #drop(code) {
    clearTimeout(this.#timer);
    clearInterval(this.#timer);
    const socket = this.#socket;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    this.#socket = undefined;
    const flight = this.#flight;
    const queue = this.#queue;
    this.#flight = undefined;
    this.#queue = [];
    flight?.reject(new NotSent(code === 1009 ? "too-big" : "connection-lost"));
    for (const waiting of queue) waiting.reject(new NotSent("not-connected"));
  }

  #become(state, more) {
    this.state = state;
    this.#tell("state", { state, ...more });
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
