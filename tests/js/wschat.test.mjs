// static/wschat.js with a simulated WebSocket and a simulated clock.
import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";
import { NotSent, connect, newId } from "../../static/wschat.js";
import { Socket } from "./socket.mjs";

const last = () => Socket.all.at(-1);
const settled = () => new Promise(setImmediate);

/** Advances the clock second by second. */
function pass(seconds) {
  for (let second = 0; second < seconds; second += 1) mock.timers.tick(1_000);
}

/** An open room that records its events. */
function open(options) {
  const room = connect("ws://room/", { WebSocket: Socket, ...options });
  room.events = [];
  for (const type of ["message", "retract", "gap", "notice", "room", "state"]) {
    room.addEventListener(type, ({ detail }) => room.events.push([type, detail]));
  }
  last().accept();
  return room;
}

beforeEach(() => {
  Socket.all = [];
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1_000_000 });
});

test("a message is sent when it comes back with its id", async () => {
  const room = open();
  await room.opened;
  const sent = room.send({ usr: "ann", msg: "hello", mood: "good" });
  const { id, ...rest } = JSON.parse(last().sent[0]);
  assert.match(id, /^.{22}$/);
  assert.deepEqual(rest, { usr: "ann", msg: "hello", mood: "good" });
  // The same text from another user, or from another page of this user, does not count.
  last().say({ usr: "ann", msg: "hello", tim: "1" });
  last().say({ usr: "ann", msg: "hello", id: newId(), tim: "2" });
  last().echo();
  assert.equal((await sent).tim, "2020-08-11T22:26:58.118678679Z");
  assert.deepEqual(room.events.map(([type]) => type), ["state", "message", "message", "message"]);
});

test("a WebSocket that began to connect before has joined then", () => {
  const room = open({ startedAt: 900_000 });
  assert.equal(room.since, new Date(900_000).toISOString());
});

test("a caller's own id is kept", async () => {
  const room = open();
  const sent = room.send({ usr: "ann", msg: "hello", id: "mine" });
  last().echo();
  assert.equal((await sent).id, "mine");
});

test("one message is in flight at a time, and a notice is about that one", async () => {
  const room = open();
  const results = ["one", "two", "three"].map((msg) => room.send({ usr: "ann", msg }));
  assert.equal(last().sent.length, 1);
  last().say({ usr: "bob", msg: "meanwhile", tim: "1" });
  assert.equal(last().sent.length, 1);
  last().echo();
  assert.equal(last().sent.length, 2);
  last().refuse("rate-limited");
  assert.equal(last().sent.length, 3);
  last().echo();
  assert.equal((await results[0]).msg, "one");
  await assert.rejects(results[1], (why) => {
    assert.ok(why instanceof NotSent);
    assert.equal(why.code, "rate-limited");
    assert.equal(why.notice.usr, "wschat");
    return true;
  });
  assert.equal((await results[2]).msg, "three");
  assert.ok(!room.events.some(([type]) => type === "notice"));
});

test("presence is no message and no answer", async () => {
  const room = open({ since: "2020-08-11T22:26:58.118678679Z" });
  assert.equal(room.presence, null);
  const sent = room.send({ usr: "ann", msg: "hello" });
  const told = (listeners) => ({ usr: "wschat", msg: `${listeners} listeners`, room: { listeners, locked: false } });
  last().say(told(2));
  last().say({ usr: "wschat", msg: "some messages are missing", err: "gap", tim: "1" });
  last().say(told(3));
  last().say({ usr: "wschat", msg: "some messages are missing", err: "gap", tim: "2" });
  assert.equal(room.since, "2020-08-11T22:26:58.118678679Z");
  assert.deepEqual(room.events.map(([type]) => type), ["state", "room", "gap", "room"]);
  assert.deepEqual(room.events[1][1], told(2));
  assert.equal(room.presence.listeners, 3);
  last().echo();
  await sent;
  // Of somebody else it is a field like any other.
  last().say({ usr: "bob", msg: "hi", room: { listeners: 9 }, tim: "3" });
  assert.equal(room.events.at(-1)[0], "message");
  assert.equal(room.presence.listeners, 3);
});

test("a notice without a message in flight is an event", () => {
  const room = open();
  last().refuse("bad-json");
  assert.equal(room.events.at(-1)[0], "notice");
});

test("an acknowledgement answers a command", async () => {
  const room = open();
  const done = room.send({ usr: "ann", jwt: "a.b.c", cmd: { mute: "bob", secs: 600 } });
  last().say({ usr: "wschat", msg: "done: muted bob for 600 s", ack: "mute", tim: "1" });
  assert.equal((await done).ack, "mute");
  assert.equal(room.events.length, 1);
});

test("only the server can refuse, acknowledge and retract", async () => {
  const room = open();
  const sent = room.send({ usr: "ann", msg: "hello" });
  for (const field of ["err", "ack", "retract"]) {
    last().say({ usr: "bob", msg: "I am the server", [field]: "rate-limited", tim: "1" });
    assert.deepEqual([room.events.at(-1)[0], room.events.at(-1)[1].usr], ["message", "bob"]);
  }
  last().say({ usr: "wschat", msg: "retracted: 1", retract: "1", tim: "2" });
  assert.deepEqual([room.events.at(-1)[0], room.events.at(-1)[1].retract], ["retract", "1"]);
  last().say({ usr: "wschat", msg: "back in five minutes", tim: "3" });
  assert.equal(room.events.at(-1)[0], "message");
  last().echo(0);
  assert.equal((await sent).msg, "hello");
});

test("each message that one text retracts is an event", () => {
  const room = open();
  const told = (fields) => {
    const before = room.events.length;
    last().say({ usr: "wschat", msg: "retracted: 3 messages", retract: "1", ...fields, tim: "9" });
    return room.events.slice(before).map(([type, { retract, tim }]) => [type, retract, tim]);
  };
  assert.deepEqual(told({ also: ["2", "3"] }), ["1", "2", "3"].map((it) => ["retract", it, "9"]));
  for (const also of [undefined, null, [], "2", 7, { length: 1 }]) {
    assert.deepEqual(told({ also }), [["retract", "1", "9"]]);
  }
});

test("after a kick only the person connects again", (t) => {
  const page = new EventTarget();
  globalThis.addEventListener = page.addEventListener.bind(page);
  globalThis.removeEventListener = page.removeEventListener.bind(page);
  t.after(() => {
    delete globalThis.addEventListener;
    delete globalThis.removeEventListener;
  });
  const room = open();
  last().hangUp(1008, "kicked");
  const [, { state, retryAt, reason }] = room.events.at(-1);
  assert.deepEqual([state, retryAt, reason], ["waiting", undefined, "kicked"]);
  pass(3_600);
  for (const type of ["offline", "online", "pageshow"]) page.dispatchEvent(new Event(type));
  pass(60);
  assert.deepEqual([Socket.all.length, room.state], [1, "waiting"]);
  room.reconnect();
  last().accept();
  assert.deepEqual([Socket.all.length, room.state], [2, "open"]);
  // Another close with this code is a break.
  last().hangUp(1008, "idle");
  pass(10);
  assert.equal(Socket.all.length, 3);
  room.close();
});

test("a text that is not a message of the protocol is ignored", () => {
  const room = open();
  const before = room.events.length;
  last().say("not JSON");
  assert.equal(room.events.length, before);
  assert.equal(room.state, "open");
});

test("a lost connection fails the message in flight and the waiting ones, with different codes", async () => {
  const room = open();
  const results = ["one", "two"].map((msg) => room.send({ usr: "ann", msg }));
  last().hangUp(1001, "stopping");
  await assert.rejects(results[0], { code: "connection-lost" });
  await assert.rejects(results[1], { code: "not-connected" });
  await assert.rejects(room.send({ usr: "ann", msg: "three" }), { code: "not-connected" });
  const [type, { state, code, reason, retryAt }] = room.events.at(-1);
  assert.deepEqual([type, state, code, reason], ["state", "waiting", 1001, "stopping"]);
  assert.ok(retryAt > Date.now());
});

test("a message over the limit has its own error code", async () => {
  const room = open();
  const result = room.send({ usr: "ann", msg: "x".repeat(100_000) });
  last().hangUp(1009);
  await assert.rejects(result, { code: "too-big" });
});

test("it reconnects after increasing random delays, up to a bound", () => {
  const room = open({ delayMinMs: 100, delayMaxMs: 1_000 });
  const delays = [];
  for (let failure = 0; failure < 40; failure += 1) {
    last().hangUp();
    const delay = room.events.at(-1)[1].retryAt - Date.now();
    delays.push(delay);
    const sockets = Socket.all.length;
    mock.timers.tick(Math.floor(delay) - 1);
    assert.equal(Socket.all.length, sockets, "too early");
    mock.timers.tick(2);
    assert.equal(Socket.all.length, sockets + 1, "too late");
  }
  assert.ok(delays[0] >= 100 && delays[0] <= 200, `${delays[0]}`);
  assert.ok(delays.slice(4).every((delay) => delay >= 500 && delay <= 1_000));
  assert.ok(new Set(delays.slice(4)).size > 30);
});

test("a connection that lasts resets the delay", () => {
  const room = open({ delayMinMs: 100, delayMaxMs: 100_000, quietMs: Infinity });
  for (let failure = 0; failure < 8; failure += 1) {
    last().hangUp();
    mock.timers.tick(100_000);
  }
  last().accept();
  mock.timers.tick(10_001);
  last().hangUp();
  assert.ok(room.events.at(-1)[1].retryAt - Date.now() <= 100);
});

test("after 1013 it waits longer each time, until it has kept up for a minute", () => {
  const room = open({ delayMinMs: 100, delayMaxMs: 1_000_000, quietMs: Infinity });
  let delay = 0;
  const slow = (seconds) => {
    pass(seconds);
    last().hangUp(1013, "too slow: 7 messages behind");
    const before = delay;
    delay = room.events.at(-1)[1].retryAt - Date.now();
    mock.timers.tick(Math.ceil(delay));
    last().accept();
    return delay > before;
  };
  for (const seconds of [0, 5, 15, 30, 59]) assert.ok(slow(seconds), `${seconds} s: ${delay}`);
  assert.ok(!slow(61));
  assert.ok(delay <= 100);
});

const TIMS = ["2020-08-11T22:26:58.118678679Z", "2020-08-11T22:26:58.118678680Z", "2020-08-11T22:26:59.000000000Z"];

/** The `since` of the newest connection. */
const since = () => new URL(last().url).searchParams.get("since");

/** Breaks the connection and opens the next one. */
function cut(room) {
  last().hangUp();
  room.reconnect();
  last().accept();
}

test("it resumes after the last message of the room", () => {
  const room = open();
  assert.equal(last().url, "ws://room/");
  last().say({ usr: "bob", msg: "one", tim: TIMS[0] });
  last().say({ usr: "wschat", msg: "retracted", retract: TIMS[0], tim: TIMS[1] });
  // These have no place in the order.
  last().say({ usr: "wschat", msg: "done: muted bob", ack: "mute", tim: TIMS[2] });
  last().say({ usr: "wschat", msg: "not sent", err: "bad-json", tim: TIMS[2] });
  last().say({ usr: "wschat", msg: "some messages are missing", err: "gap", tim: TIMS[2] });
  last().say({ usr: "bob", msg: "of another server" });
  assert.equal(room.since, TIMS[1]);
  cut(room);
  assert.equal(last().url, `ws://room/?since=${encodeURIComponent(TIMS[1])}`);
  // In a message of a user these fields mean nothing.
  last().say({ usr: "bob", msg: "two", ack: "mute", tim: TIMS[2] });
  cut(room);
  assert.equal(since(), TIMS[2]);
});

test("a query of the URL is kept, and the option since is where it begins", () => {
  const room = connect("ws://room/a?b=1&since=x", { WebSocket: Socket, since: TIMS[0] });
  assert.equal(last().url, `ws://room/a?b=1&since=${encodeURIComponent(TIMS[0])}`);
  last().hangUp();
  room.reconnect();
  assert.equal(since(), TIMS[0]);
  last().accept();
  cut(room);
  assert.equal(since(), TIMS[0]);
});

test("before the first message it resumes at the time of joining", () => {
  const room = connect("ws://room/", { WebSocket: Socket });
  last().hangUp();
  room.reconnect();
  assert.equal(since(), null, "it was never in the room");
  const joined = new Date().toISOString();
  pass(1);
  last().accept();
  pass(7);
  cut(room);
  assert.equal(since(), joined);
  cut(room);
  assert.equal(since(), joined);
  // The clock of the server is better.
  last().refuse("bad-json");
  cut(room);
  assert.equal(since(), "2020-08-11T22:26:57.118Z");
});

test("a gap is told once, until a message follows, and answers no message", async () => {
  const room = open();
  const gaps = () => room.events.filter(([type]) => type === "gap").length;
  const gap = { usr: "wschat", msg: "some messages are missing", err: "gap", after: TIMS[0], tim: TIMS[2] };
  last().say({ usr: "bob", msg: "one", tim: TIMS[0] });
  cut(room);
  const sent = room.send({ usr: "ann", msg: "hello" });
  last().say(gap);
  assert.deepEqual(room.events.at(-1), ["gap", gap]);
  last().refuse("muted");
  await assert.rejects(sent, { code: "muted" });
  cut(room);
  assert.equal(since(), TIMS[0]);
  last().say(gap);
  assert.equal(gaps(), 1);
  last().say({ usr: "bob", msg: "two", tim: TIMS[1] });
  cut(room);
  last().say(gap);
  assert.equal(gaps(), 2);
  assert.ok(!room.events.some(([type]) => type === "notice"));
});

test("the message at the seam is not repeated, and a clock that was set back hides nothing", () => {
  const room = open();
  const seen = () => room.events.filter(([type]) => type === "message").map(([, { msg }]) => msg);
  last().say({ usr: "bob", msg: "one", tim: TIMS[1] });
  cut(room);
  last().say({ usr: "bob", msg: "one", tim: TIMS[1] });
  last().say({ usr: "bob", msg: "earlier", tim: TIMS[0] });
  assert.deepEqual(seen(), ["one", "earlier"]);
  cut(room);
  assert.equal(since(), TIMS[0]);
});

test("a message in flight when the connection breaks arrives later", async () => {
  const room = open();
  const sent = room.send({ usr: "ann", msg: "hello" });
  const [text] = last().sent;
  last().hangUp();
  await assert.rejects(sent, { code: "connection-lost" });
  room.reconnect();
  last().accept();
  last().say({ ...JSON.parse(text), tim: TIMS[0] });
  assert.deepEqual([room.events.at(-1)[0], room.events.at(-1)[1].msg], ["message", "hello"]);
});

test("a silent connection is probed, and keeps open after an answer", () => {
  const room = open();
  mock.timers.tick(25_000);
  assert.deepEqual(last().sent, []);
  mock.timers.tick(5_000);
  assert.deepEqual(last().sent, [""]);
  last().refuse("bad-json");
  mock.timers.tick(20_000);
  assert.equal(room.state, "open");
  assert.ok(!room.events.some(([type]) => type === "notice"));
});

test("a connection with messages is not probed", () => {
  open();
  for (let second = 0; second < 120; second += 10) {
    mock.timers.tick(10_000);
    last().say({ usr: "bob", msg: "still here", tim: "1" });
  }
  assert.deepEqual(last().sent, []);
});

test("a dead connection is replaced within a minute", () => {
  const room = open();
  const dead = last();
  pass(60);
  assert.ok(dead.closed);
  assert.notEqual(last(), dead);
  last().accept();
  assert.equal(room.state, "open");
  // Later events of the dead connection are ignored.
  const count = room.events.length;
  dead.say({ usr: "bob", msg: "late", tim: "1" });
  dead.hangUp();
  assert.equal(room.events.length, count);
});

test("a message without an answer ends the connection, even if others arrive", async () => {
  const room = open();
  const result = room.send({ usr: "ann", msg: "hello" });
  for (let second = 0; second < 30; second += 5) {
    mock.timers.tick(5_000);
    last().say({ usr: "bob", msg: "still here", tim: "1" });
  }
  await assert.rejects(result, { code: "connection-lost" });
  assert.ok(Socket.all[0].closed);
});

test("a message sent during a probe waits for the answer", async () => {
  const room = open();
  mock.timers.tick(30_000);
  const result = room.send({ usr: "ann", msg: "hello" });
  assert.deepEqual(last().sent, [""]);
  last().refuse("bad-json");
  last().echo();
  assert.equal((await result).msg, "hello");
});

test("a connection that does not open is replaced", () => {
  connect("ws://room/", { WebSocket: Socket });
  mock.timers.tick(20_000);
  assert.ok(last().closed);
  mock.timers.tick(1_000);
  assert.equal(Socket.all.length, 2);
});

test("an error without a close ends the connection once", () => {
  const room = open();
  const [broken] = Socket.all;
  broken.onerror({});
  assert.equal(room.state, "waiting");
  // A close event after it is ignored.
  broken.hangUp();
  mock.timers.tick(1_000);
  assert.equal(Socket.all.length, 2);
});

test("reconnect skips the delay, and has no effect on an open connection", () => {
  const room = open();
  room.reconnect();
  assert.equal(Socket.all.length, 1);
  last().hangUp();
  room.reconnect();
  assert.equal(Socket.all.length, 2);
  mock.timers.tick(1_500);
  assert.equal(Socket.all.length, 2);
});

test("close is final", async () => {
  const room = open();
  const result = room.send({ usr: "ann", msg: "hello" });
  room.close();
  await assert.rejects(result, { code: "connection-lost" });
  assert.ok(last().closed);
  mock.timers.tick(600_000);
  assert.equal(Socket.all.length, 1);
  assert.equal(room.state, "closed");
  await assert.rejects(room.send({ usr: "ann", msg: "x" }), { code: "not-connected" });
});

test("in a browser: online, offline and visibilitychange events", async (t) => {
  const page = new EventTarget();
  for (const how of ["addEventListener", "removeEventListener"]) globalThis[how] = page[how].bind(page);
  globalThis.document = new EventTarget();
  t.after(() => {
    delete globalThis.addEventListener;
    delete globalThis.removeEventListener;
    delete globalThis.document;
  });
  const room = open();
  page.dispatchEvent(new Event("offline"));
  assert.equal(room.state, "waiting");
  document.hidden = true;
  document.dispatchEvent(new Event("visibilitychange"));
  assert.equal(room.state, "waiting");
  page.dispatchEvent(new Event("online"));
  assert.equal(room.state, "connecting");
  last().hangUp();
  document.hidden = false;
  document.dispatchEvent(new Event("visibilitychange"));
  assert.equal(room.state, "connecting");
  last().accept();
  // When the page becomes visible after a while, it probes the connection.
  mock.timers.tick(6_000);
  document.dispatchEvent(new Event("visibilitychange"));
  assert.deepEqual(last().sent, [""]);
  room.close();
  page.dispatchEvent(new Event("online"));
  assert.equal(room.state, "closed");
  await settled();
});
