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
 *     console.log("sent to everyone at", sent.tim);
 *     room.close();
 *
 * Receipts: the server sends a message to its sender too, with all its fields.
 * `send` adds a random `id` and waits for the message with that `id`.
 *
 * Answers: a notice (`err`, maybe `wait`: seconds) or `ack` of a command does not
 * name its message, and can arrive before an earlier message. Therefore one
 * message is sent at a time; the next follows its answer.
 *
 * Dead connections: a script cannot see the pings of the server. After `quietMs`
 * without data an empty text is sent; the server answers with a notice, which is
 * hidden. Without an answer within `answerMs` the room reconnects.
 */

/** The options; times in milliseconds. `WebSocket` replaces the global one. */
const DEFAULTS = {
  /** The first wait before reconnecting; doubles with each failure. */
  delayMinMs: 500,
  /** The longest wait; each is shortened at random, by up to a half. */
  delayMaxMs: 30_000,
  /** The timeout of a connection or an answer. */
  answerMs: 20_000,
  /** Time without data before a check; Infinity: never. */
  quietMs: 25_000,
};

/** Connects to a ws: or wss: URL, and reconnects. */
export function connect(url, options) {
  return new Room(url, options);
}

/** A random text of 128 bits. */
export function newId() {
  return btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16)))).slice(0, 22);
}

/**
 * Why a message was not sent. `code` is the `err` of the notice, or
 *   not-connected    it was not sent
 *   connection-lost  it may have been received
 *   too-big          the server closed the connection because of its size
 * `notice` is the notice, if there is one.
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
 *   retract  detail: a message whose `retract` is the `tim` to hide
 *   notice   detail: a notice or `ack` without a message of ours
 *   state    detail: { state, retryAt, code, reason }, where state is
 *              connecting
 *              open
 *              waiting  to reconnect at `retryAt` (milliseconds, as Date.now()),
 *                       after a close with `code` and `reason`
 *              closed   by `close()`
 */
export class Room extends EventTarget {
  #url;
  #options;
  #socket;
  /** The timer of the current state: answer, check, reconnect. */
  #timer;
  /** The sent message or check: { id, text, since, resolve, reject }. */
  #flight;
  /** Messages to send, oldest first. */
  #queue = [];
  /** Consecutive failed connections. */
  #failures = 0;
  #openedAt = 0;
  #heardAt = 0;
  #whenOpen;

  /** The state, as in the event. */
  state = "connecting";
  /** Resolves when the first connection is open. */
  opened = new Promise((resolve) => (this.#whenOpen = resolve));

  constructor(url, options) {
    super();
    this.#url = url;
    this.#options = { ...DEFAULTS, ...options };
    this.#observe("addEventListener");
    this.#open();
  }

  /**
   * Sends { usr, msg, … }; resolves to the message with `tim`, or rejects with
   * NotSent. Several messages keep their order.
   */
  send(message) {
    if (this.state !== "open") return Promise.reject(new NotSent("not-connected"));
    const id = message.id ?? newId();
    return new Promise((resolve, reject) => {
      this.#queue.push({ id, text: JSON.stringify({ ...message, id }), resolve, reject });
      this.#next();
    });
  }

  /** Reconnects now instead of at `retryAt`. */
  reconnect() {
    if (this.state === "waiting") this.#open();
  }

  /** Disconnects and does not reconnect. */
  close() {
    this.#observe("removeEventListener");
    this.#drop();
    this.#become("closed");
  }

  /** Handles changes of the network or of the tab. */
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

  /** Sends the next message, if no answer is awaited. */
  #next() {
    if (this.#flight || !this.#queue.length) return;
    this.#flight = { ...this.#queue.shift(), since: Date.now() };
    this.#socket.send(this.#flight.text);
  }

  /** Sends a check, unless an answer is awaited. */
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
    // The name is reserved; in other messages these fields mean nothing.
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

  /** Checks the connection every few seconds. */
  #watch() {
    const { answerMs, quietMs } = this.#options;
    const now = Date.now();
    if (this.#flight && now - this.#flight.since > answerMs) this.#lose(1006, "no answer");
    else if (now - this.#heardAt > quietMs) this.#ask();
  }

  /** Reconnects after a wait that grows with each failure. */
  #lose(code, reason) {
    const { delayMinMs, delayMaxMs } = this.#options;
    const lasted = this.state === "open" && Date.now() - this.#openedAt > 10_000;
    this.#failures = lasted ? 0 : this.#failures + 1;
    const delay = Math.min(delayMaxMs, delayMinMs * 2 ** this.#failures) * (1 - Math.random() / 2);
    this.#drop(code);
    this.#timer = setTimeout(() => this.#open(), delay);
    this.#become("waiting", { retryAt: Date.now() + delay, code, reason });
  }

  /** Drops the socket and rejects what was sent on it. */
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
