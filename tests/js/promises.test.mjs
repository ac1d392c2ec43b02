// Every promise of static/wschat.js settles: `opened`, and those of `send`.
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { beforeEach, mock, test } from "node:test";
import { NotSent, connect } from "../../static/wschat.js";
import { Socket } from "./socket.mjs";

const ANN = { usr: "ann", msg: "hello" };
const last = () => Socket.all.at(-1);

/** A room before its first connection is open. */
const join = () => connect("ws://room/", { WebSocket: Socket });

/** An open room. */
function open() {
  const room = join();
  last().accept();
  return room;
}

/** Makes `globalThis` a page, until the test ends. */
function browse(t) {
  const page = new EventTarget();
  for (const how of ["addEventListener", "removeEventListener"]) {
    globalThis[how] = page[how].bind(page);
    t.after(() => delete globalThis[how]);
  }
  return page;
}

/** "fulfilled", "rejected" or "pending". */
async function stateOf(promise) {
  let state = "pending";
  promise.then(
    () => (state = "fulfilled"),
    () => (state = "rejected"),
  );
  await new Promise(setImmediate);
  return state;
}

beforeEach(() => {
  Socket.all = [];
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1_000_000 });
});

test("opened resolves with the first connection, however late", async () => {
  const room = join();
  for (let failure = 0; failure < 5; failure += 1) {
    last().hangUp();
    assert.equal(await stateOf(room.opened), "pending");
    room.reconnect();
  }
  last().accept();
  assert.equal(await stateOf(room.opened), "fulfilled");
  last().hangUp(1008, "kicked");
  room.close();
  assert.equal(await stateOf(room.opened), "fulfilled");
});

test("opened rejects if the room is closed before", async () => {
  for (const before of [() => {}, () => last().hangUp(), () => mock.timers.tick(30_000)]) {
    const room = join();
    before();
    room.close();
    await assert.rejects(room.opened, { name: "AbortError" });
    room.reconnect();
    assert.equal(room.state, "closed");
  }
});

test("who does not use opened gets no unhandled rejection", async (t) => {
  const unhandled = t.mock.fn();
  process.on("unhandledRejection", unhandled);
  t.after(() => process.off("unhandledRejection", unhandled));
  join().close();
  await new Promise(setImmediate);
  assert.equal(unhandled.mock.callCount(), 0);
});

test("a room that is closed by its own events settles, too", async () => {
  for (const state of ["open", "waiting"]) {
    const room = join();
    room.addEventListener("state", ({ detail }) => detail.state === state && room.close());
    if (state === "open") last().accept();
    else last().hangUp();
    assert.equal(await stateOf(room.opened), "rejected", state);
    assert.equal(room.state, "closed");
    const sockets = Socket.all.length;
    mock.timers.tick(600_000);
    assert.equal(Socket.all.length, sockets);
  }
});

test("a URL or a class that cannot be used is an exception, and leaves nothing behind", (t) => {
  const page = browse(t);
  class Strict {
    constructor(url) {
      throw new SyntaxError(url);
    }
  }
  for (const [url, WebSocket] of [
    ["http://", Socket],
    ["nonsense", Socket],
    [undefined, Socket],
    ["ws://room/", Strict],
    ["ws://room/", null],
  ]) {
    assert.throws(() => connect(url, { WebSocket }));
    for (const type of ["online", "offline", "pageshow"]) {
      assert.equal(getEventListeners(page, type).length, 0, type);
    }
    mock.timers.tick(60_000);
  }
  assert.equal(Socket.all.length, 0);
});

test("send always answers", async () => {
  const code = (code) => ({ name: "NotSent", code });
  for (const [name, before, act, want] of [
    ["before the first connection", () => join(), () => {}, code("not-connected")],
    ["an answer", open, () => last().echo(), undefined],
    ["a refusal", open, () => last().refuse("muted"), code("muted")],
    ["a break", open, () => last().hangUp(), code("connection-lost")],
    ["too big", open, () => last().hangUp(1009), code("too-big")],
    ["a kick", open, () => last().hangUp(1008, "kicked"), code("connection-lost")],
    ["an error", open, () => last().onerror({}), code("connection-lost")],
    ["silence", open, () => mock.timers.tick(30_000), code("connection-lost")],
    ["close", open, (room) => room.close(), code("connection-lost")],
  ]) {
    const room = before();
    const sent = room.send(ANN);
    act(room);
    if (want) await assert.rejects(sent, want, name);
    else assert.equal((await sent).msg, "hello");
    room.close();
  }
});

test("send rejects what is no message, and goes on", async () => {
  const room = open();
  const circular = {};
  circular.circular = circular;
  for (const message of [null, undefined, circular, { n: 1n }]) {
    await assert.rejects(room.send(message), TypeError);
  }
  const sent = room.send(ANN);
  assert.equal(last().sent.length, 1);
  last().echo();
  assert.equal((await sent).msg, "hello");
});

test("any id that JSON keeps finds its answer", async () => {
  const room = open();
  for (const id of ["", 0, false, "x", 7]) {
    const sent = room.send({ ...ANN, id });
    last().echo();
    assert.equal((await sent).id, id);
  }
});

test("an aborted signal sends nothing", async () => {
  const room = open();
  const reason = new Error("changed my mind");
  await assert.rejects(room.send(ANN, { signal: AbortSignal.abort(reason) }), reason);
  await assert.rejects(join().send(ANN, { signal: AbortSignal.abort() }), { name: "AbortError" });
  assert.deepEqual(Socket.all[0].sent, []);
});

test("a message that waits is aborted and not sent; the others keep their order", async () => {
  const room = open();
  const aborter = new AbortController();
  const { signal } = aborter;
  const results = ["one", "two", "three"].map((msg) => room.send({ usr: "ann", msg }, msg === "two" ? { signal } : {}));
  const reason = new Error("too late");
  aborter.abort(reason);
  await assert.rejects(results[1], reason);
  last().echo();
  last().echo();
  assert.deepEqual([(await results[0]).msg, (await results[2]).msg], ["one", "three"]);
  assert.equal(last().sent.length, 2);
});

test("the answer to an aborted message is ignored, and the next one waits for it", async () => {
  const room = open();
  const notices = [];
  room.addEventListener("notice", ({ detail }) => notices.push(detail));
  for (const answer of [() => last().echo(), () => last().refuse("muted")]) {
    const aborter = new AbortController();
    const first = room.send(ANN, { signal: aborter.signal });
    const second = room.send({ usr: "ann", msg: "next" });
    const before = last().sent.length;
    aborter.abort();
    await assert.rejects(first, { name: "AbortError" });
    assert.equal(last().sent.length, before);
    answer();
    assert.equal(last().sent.length, before + 1);
    last().echo();
    assert.equal((await second).msg, "next");
  }
  assert.deepEqual(notices, []);
});

test("a settled message forgets its signal", async () => {
  const { signal } = new AbortController();
  const room = open();
  const listeners = () => getEventListeners(signal, "abort").length;
  const sent = [room.send(ANN, { signal }), room.send(ANN, { signal })];
  assert.equal(listeners(), 2);
  last().echo();
  await sent[0];
  last().hangUp();
  await assert.rejects(sent[1], NotSent);
  assert.equal(listeners(), 0);
});

test("what a signal aborts after the answer changes nothing", async () => {
  const room = open();
  const aborter = new AbortController();
  const sent = room.send(ANN, { signal: aborter.signal });
  last().echo();
  aborter.abort();
  assert.equal((await sent).msg, "hello");
  room.close();
});
