// static/wschat.js with Node's own WebSocket and a real wschat: $WSCHAT_BIN, or
// target/debug/wschat. Node 20 needs --experimental-websocket.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createConnection, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { connect } from "../../static/wschat.js";

assert.ok(globalThis.WebSocket, "this Node has no WebSocket: use Node 22, or --experimental-websocket");

const module = new URL("../../static/wschat.js", import.meta.url);
const binary = process.env.WSCHAT_BIN ?? fileURLToPath(new URL("../../target/debug/wschat", import.meta.url));

/** Starts a daemon that stops with the test. Returns its URL, its address and `stop`. */
async function start(t, listen = "127.0.0.1:0", text = "") {
  const folder = mkdtempSync(join(tmpdir(), "wschat-"));
  const config = join(folder, "wschat.toml");
  writeFileSync(config, text);
  const { JWT_SECRET, ...env } = process.env;
  const child = spawn(binary, ["--config", config, "--listen", listen], { env, stdio: ["ignore", "ignore", "pipe"] });
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null && child.kill("SIGTERM")) await once(child, "exit");
  };
  t.after(async () => {
    await stop();
    rmSync(folder, { recursive: true });
  });
  for await (const line of createInterface(child.stderr)) {
    const address = /listening on (\S+)/.exec(line)?.[1];
    if (address) {
      child.stderr.resume();
      return { url: `ws://${address}/`, address, stop };
    }
  }
  throw new Error("wschat does not listen");
}

/** The detail of the next event of this type for which `is` returns true. */
const next = (room, type, is = () => true) =>
  new Promise((resolve) => {
    const listen = ({ detail }) => {
      if (!is(detail)) return;
      room.removeEventListener(type, listen);
      resolve(detail);
    };
    room.addEventListener(type, listen);
  });

/** A proxy whose connections can be cut. Returns its URL and `cut`. */
async function proxy(t, address) {
  const [, host, port] = /(.*):(\d+)/.exec(address);
  const open = new Set();
  const server = createServer((near) => {
    const far = createConnection(port, host);
    for (const [from, to] of [[near, far], [far, near]]) {
      open.add(from);
      from.pipe(to);
      from.on("error", () => {});
      from.on("close", () => (open.delete(from), to.destroy()));
    }
  });
  const cut = () => open.forEach((socket) => socket.destroy());
  t.after(() => (server.close(), cut()));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `ws://127.0.0.1:${server.address().port}/`, cut };
}

test("two clients exchange messages", async (t) => {
  const { url } = await start(t);
  const [ann, bob] = [connect(url), connect(url)];
  t.after(() => [ann, bob].forEach((room) => room.close()));
  await Promise.all([ann.opened, bob.opened]);
  const received = next(bob, "message");
  const sent = await ann.send({ usr: "ann", msg: "hello", mood: "good" });
  assert.deepEqual(await received, sent);
  assert.match(sent.tim, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
  assert.equal(sent.mood, "good");
  const all = await Promise.all([1, 2, 3].map((n) => ann.send({ usr: "ann", msg: `${n}` })));
  assert.deepEqual(all.map(({ tim }) => tim), all.map(({ tim }) => tim).sort());
});

test("a notice is assigned to its message among others", async (t) => {
  const { url } = await start(t);
  const room = connect(url);
  t.after(() => room.close());
  await room.opened;
  const results = await Promise.allSettled(
    ["ann", "wschat", "ann", " ", "ann"].map((usr, n) => room.send({ usr, msg: `${n}` })),
  );
  assert.deepEqual(
    results.map(({ value, reason }) => value?.msg ?? reason.code),
    ["0", "name-reserved", "2", "missing-usr", "4"],
  );
});

test("the server answers a probe", async (t) => {
  const { url } = await start(t);
  const room = connect(url);
  t.after(() => room.close());
  await room.opened;
  // The library's probe: an empty text, which the server answers with a notice.
  const socket = new WebSocket(url);
  // Before it, and beside it, the server tells of the room.
  const answer = new Promise((resolve) => {
    socket.addEventListener("message", ({ data }) => data.includes('"err"') && resolve(JSON.parse(data)));
  });
  await once(socket, "open");
  socket.send("");
  assert.equal((await answer).err, "bad-json");
  socket.close();
});

test("a server that stops and starts again", async (t) => {
  const first = await start(t);
  const room = connect(first.url, { delayMinMs: 20, delayMaxMs: 100 });
  t.after(() => room.close());
  await room.opened;
  const waiting = next(room, "state", ({ state }) => state === "waiting");
  await first.stop();
  assert.equal((await waiting).code, 1001);
  await assert.rejects(room.send({ usr: "ann", msg: "hello" }), { code: "not-connected" });
  const open = next(room, "state", ({ state }) => state === "open");
  await start(t, first.address);
  await open;
  assert.equal((await room.send({ usr: "ann", msg: "again" })).msg, "again");
});

test("what was missed arrives once, wherever the connection breaks", async (t) => {
  const { url, address } = await start(t, undefined, "[limits]\nmessages_per_sec = 0\n");
  const network = await proxy(t, address);
  const ann = connect(url);
  const listeners = [1, 2, 3].map(() => connect(network.url, { delayMinMs: 1, delayMaxMs: 5 }));
  t.after(() => [ann, ...listeners].forEach((room) => room.close()));
  const seen = listeners.map((room) => {
    const messages = [];
    room.addEventListener("message", ({ detail }) => messages.push(detail));
    room.addEventListener("gap", ({ detail }) => messages.push(detail));
    return messages;
  });
  await Promise.all([ann, ...listeners].map(({ opened }) => opened));
  const sent = [];
  // Every third message a break, at another moment after it.
  for (let n = 0; n < 300; n += 1) {
    sent.push(await ann.send({ usr: "ann", msg: `${n}` }));
    if (n % 3 === 0) setTimeout(network.cut, n % 7);
  }
  for (const room of listeners) {
    if (room.since !== sent.at(-1).tim) await next(room, "message", ({ tim }) => tim === sent.at(-1).tim);
  }
  for (const messages of seen) assert.deepEqual(messages, sent);
});

test("a server that does not know what was said", async (t) => {
  const first = await start(t);
  const room = connect(first.url, { delayMinMs: 20, delayMaxMs: 100 });
  t.after(() => room.close());
  await room.opened;
  const { tim } = await room.send({ usr: "ann", msg: "hello" });
  await first.stop();
  const gap = next(room, "gap");
  await start(t, first.address);
  assert.deepEqual([(await gap).after, room.since], [tim, tim]);
});

test("a message over the limit", async (t) => {
  const { url } = await start(t);
  const room = connect(url, { delayMinMs: 20 });
  t.after(() => room.close());
  await room.opened;
  await assert.rejects(room.send({ usr: "ann", msg: "x".repeat(20_000) }), { code: "too-big" });
});

test("the example of the documentation works unchanged", async (t) => {
  const { url } = await start(t);
  const lines = readFileSync(module, "utf8").matchAll(/^ \* {5}(.*)$|^ \*$/gm);
  const [example] = /import .*room\.close\(\);/s.exec([...lines].map(([, code = ""]) => code).join("\n"));
  const program = example.replace("./wschat.js", module.href).replace("ws://127.0.0.1:8080/", url);
  const { stdout } = await promisify(execFile)(process.execPath, [
    ...process.execArgv.filter((argument) => argument === "--experimental-websocket"),
    "--no-warnings",
    "--input-type=module",
    "--eval",
    program,
  ]);
  assert.match(stdout, /^open\n\S+Z ann hello\nsent to everyone at \S+Z\nclosed\n$/);
});
