// static/wschat.d.ts fits static/wschat.js, for the TypeScript compiler at $WSCHAT_TSC.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import * as wschat from "../../static/wschat.js";
import { Socket } from "./socket.mjs";

const path = (name) => fileURLToPath(new URL(name, import.meta.url));
const SCRIPT = path("../../static/wschat.js");
const TYPES = path("../../static/wschat.d.ts");

/** The errors that the compiler finds. */
async function compile(file) {
  const tsc = process.env.WSCHAT_TSC;
  assert.ok(tsc, "WSCHAT_TSC must name tsc of the npm package typescript; tests/run fetches it");
  const options = ["--strict", "--noEmit", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom"];
  try {
    await promisify(execFile)(process.execPath, [tsc, ...options, file]);
    return "";
  } catch ({ stdout, message }) {
    return stdout || message;
  }
}

/** The errors in a module that uses these names. */
async function use(t, names, members) {
  const folder = mkdtempSync(join(tmpdir(), "wschat-types-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const lines = [
    `import { ${names.join(", ")} } from ${JSON.stringify(SCRIPT)};`,
    `export const names = [${names.join(", ")}];`,
    ...members.map((name) => `export const ${name} = (room: Room) => room.${name};`),
  ];
  writeFileSync(join(folder, "use.mts"), lines.join("\n"));
  return compile(join(folder, "use.mts"));
}

/** Everything that a room has. */
function membersOfRoom() {
  const room = wschat.connect("ws://room/", { WebSocket: Socket });
  room.close();
  return [...Object.keys(room), ...Object.getOwnPropertyNames(wschat.Room.prototype)].filter(
    (name) => name !== "constructor",
  );
}

test("a sample compiles", async () => {
  assert.equal(await compile(path("sample.ts")), "");
});

test("every export and every member has a type", async (t) => {
  const [names, members] = [Object.keys(wschat), membersOfRoom()];
  assert.ok(names.includes("connect") && members.includes("send") && members.includes("state"));
  assert.equal(await use(t, names, members), "");
  assert.match(await use(t, [...names, "nothing"], members), /nothing/);
  assert.match(await use(t, names, [...members, "nowhere"]), /nowhere/);
});

test("every typed export exists, and every event", () => {
  const types = readFileSync(TYPES, "utf8");
  const typed = [...types.matchAll(/^export (?:function|class|const) (\w+)/gm)].map(([, name]) => name);
  assert.deepEqual(typed.sort(), Object.keys(wschat).sort());
  const script = readFileSync(SCRIPT, "utf8");
  const told = [...script.matchAll(/#tell\("(\w+)"/g)].map(([, type]) => type);
  const [, events] = /interface RoomEvents \{(.*?)\n\}/s.exec(types);
  const listed = [...events.matchAll(/^ {2}(\w+):/gm)].map(([, type]) => type);
  assert.deepEqual(listed.sort(), [...new Set(told)].sort());
});
