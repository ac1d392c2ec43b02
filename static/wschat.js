// @ts-self-types="./wschat.d.ts"
/**
 * wschat.js: a wschat room for any page or script that has a WebSocket
 * (browsers, Node 22, Deno, Bun).
 *
 * SPDX-License-Identifier: AGPL-3.0-only
 * docs/embedding.md says what that means for a site that imports it.
 */

/*
 * An example:
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
 * After a break it resumes: the server sends what was missed.
 * docs/javascript.md describes options, events and how it works.
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
  /** Begin with the messages after this `tim`. */
  since: null,
  /** When `WebSocket` began to connect, if that was before. */
  startedAt: null,
};

/** Connects to a ws: or wss: URL, and reconnects. */
export function connect(url, options) {
  return new Room(url, options);
}

/** The messages that one text retracts. */
function retracted({ retract, also }) {
  return [retract].concat(Array.isArray(also) ? also : []);
}

/** A random text of 128 bits. */
export function newId() {
  return btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16)))).slice(0, 22);
}

/**
 * Why a message was not sent. `code` is the `err` of the notice, or
 *   not-connected    it was not sent
 *   connection-lost  it may have been received
 *   too-big          it exceeds the limit of the server
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
 * Its events are CustomEvents, whose detail is the message or the notice:
 * message, retract, gap, notice, room (the server tells `presence`); and
 *   state    detail: { state, retryAt, code, reason }, where state is connecting,
 *            open, waiting (until `retryAt`, after a close with `code` and `reason`;
 *            without `retryAt` for reconnect(), because a person has to decide),
 *            or closed
 */
export class Room extends EventTarget {
  #url;
  #options;
  #socket;
  /** The timer of the current state: answer, check, reconnect. */
  #timer;
  /**
   * The sent message or check: { id, text, since, resolve, reject }. One at a time,
   * because an answer does not name its message.
   */
  #flight;
  /** Messages to send, oldest first. */
  #queue = [];
  /** Consecutive failed connections. */
  #failures = 0;
  /** The last `tim`, and the one that this connection asked for. */
  #last;
  #asked;
  #joinedAt = null;
  #inGap = false;
  #openedAt = 0;
  #heardAt = 0;
  /** The server has put this client out: only a person may reconnect. */
  #kicked = false;
  #opening;

  /** The state, as in the event. */
  state = "connecting";
  /** Who is there and who can send, as the server has told last: see docs/javascript.md. */
  presence = null;
  /** Resolves when the first connection is open; rejects if close() comes first. */
  opened = new Promise((resolve, reject) => (this.#opening = { resolve, reject }));

  constructor(url, options) {
    super();
    this.#url = url;
    this.#options = { ...DEFAULTS, ...options };
    this.#last = this.#options.since;
    // Not everybody waits for it.
    this.opened.catch(() => {});
    this.#open();
    this.#observe("addEventListener");
  }

  /** Where to resume: the `tim` of the last message, or the time of joining. */
  get since() {
    return this.#last || (this.#joinedAt && new Date(this.#joinedAt).toISOString());
  }

  /**
   * Sends { usr, msg, … }; resolves to the message with `tim`, or rejects with
   * NotSent. Several messages keep their order. It rejects with the reason of an
   * AbortSignal; what is on its way then may have been sent.
   */
  async send(message, { signal } = {}) {
    signal?.throwIfAborted();
    if (this.state !== "open") throw new NotSent("not-connected");
    const id = message.id ?? newId();
    const entry = { id, text: JSON.stringify({ ...message, id }) };
    const answer = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject }));
    const abort = () => {
      this.#queue = this.#queue.filter((other) => other !== entry);
      entry.reject(signal.reason);
    };
    signal?.addEventListener("abort", abort);
    this.#queue.push(entry);
    this.#next();
    try {
      return await answer;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
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
    this.#opening.reject(new DOMException("closed before it was open", "AbortError"));
  }

  /** Handles changes of the network or of the tab. */
  handleEvent({ type }) {
    if (this.#kicked) return;
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
    this.#kicked = false;
    this.presence = null;
    const { answerMs, WebSocket = globalThis.WebSocket } = this.#options;
    const startedAt = this.#options.startedAt ?? Date.now();
    const url = new URL(this.#url, globalThis.location);
    this.#asked = this.since;
    if (this.#asked) url.searchParams.set("since", this.#asked);
    const socket = (this.#socket = new WebSocket(url.href));
    socket.onopen = () => {
      this.#joinedAt ??= startedAt;
      this.#openedAt = this.#heardAt = Date.now();
      clearTimeout(this.#timer);
      this.#timer = setInterval(() => this.#watch(), answerMs / 4);
      this.#become("open");
      this.#opening.resolve();
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
    if (server && message.room) {
      this.presence = message.room;
      return this.#tell("room", message);
    }
    const answer = server && (message.err ?? message.ack);
    if (answer === "gap") {
      // Until a message follows it is the same gap.
      if (!this.#inGap) this.#tell("gap", message);
      this.#inGap = true;
      return;
    }
    if (flight && (answer || (flight.text && flight.id === message.id))) {
      this.#flight = undefined;
      if (answer && message.err) flight.reject?.(new NotSent(message.err, message));
      else flight.resolve?.(message);
    }
    if (answer) {
      if (!flight) this.#tell("notice", message);
      // Better than our clock, but perhaps ahead of messages that follow.
      this.#joinedAt = Date.parse(`${message.tim?.slice(0, 23)}Z`) - 1_000 || this.#joinedAt;
    } else if (message.tim !== this.#asked) {
      this.#last = message.tim ?? this.#last;
      this.#inGap = false;
      if (!server || !message.retract) this.#tell("message", message);
      else retracted(message).forEach((retract) => this.#tell("retract", { ...message, retract }));
    }
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
    // One that was too slow must keep up for longer.
    const enough = code === 1013 ? 60_000 : 10_000;
    const lasted = this.state === "open" && Date.now() - this.#openedAt > enough;
    this.#failures = lasted ? 0 : this.#failures + 1;
    const delay = Math.min(delayMaxMs, delayMinMs * 2 ** this.#failures) * (1 - Math.random() / 2);
    this.#drop(code);
    this.#kicked = code === 1008 && reason === "kicked";
    if (this.#kicked) return this.#become("waiting", { code, reason });
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
