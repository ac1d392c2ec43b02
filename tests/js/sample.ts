// How TypeScript uses wschat.js: types.test.mjs compiles this.
import { NotSent, Room, connect, newId } from "../../static/wschat.js";
import type { Notice, Options, Received, StateChange } from "../../static/wschat.js";

const options: Options = { since: null, delayMinMs: 100, quietMs: Infinity, WebSocket };
const room: Room = connect(new URL("ws://127.0.0.1:8080/"), options);
const seen: Received[] = [];
const show = ({ detail }: CustomEvent<Received>) => void seen.push(detail);

room.addEventListener("message", show);
room.addEventListener("message", show, { once: true });
room.removeEventListener("message", show);
room.addEventListener("retract", ({ detail: { retract, tim } }) => retract.localeCompare(tim));
room.addEventListener("gap", ({ detail }) => detail.err?.toUpperCase());
room.addEventListener("notice", ({ detail }: CustomEvent<Notice>) => (detail.wait ?? 0) + (detail.met ?? 0));
room.addEventListener("room", ({ detail }) => detail.room.listeners + (room.presence?.slow ?? 0));
room.addEventListener("state", ({ detail }) => {
  const { state, retryAt, code, reason }: StateChange = detail;
  if (state === "waiting" && retryAt) console.log(retryAt - Date.now(), code, reason);
});
room.addEventListener("an event of another kind", (event: Event) => event.type);

export async function use(): Promise<string | null> {
  await room.opened;
  const aborter = new AbortController();
  try {
    const { tim, mood } = await room.send({ usr: "ann", msg: "hi", id: newId(), mood: 1 }, { signal: aborter.signal });
    console.log(tim, mood);
    await room.send({ usr: "ann", jwt: "a.b.c", cmd: { mute: "bob", secs: 600 } });
  } catch (error) {
    if (error instanceof NotSent) console.log(error.code, error.notice?.wait);
  }
  if (room.state === "waiting") room.reconnect();
  room.close();
  return room.since;
}

// What is wrong is an error.
// @ts-expect-error
room.send("hello");
// @ts-expect-error
room.send({ msg: "who says this?" });
// @ts-expect-error
room.state = "open";
// @ts-expect-error
connect("ws://127.0.0.1/", { delayMinMs: "100" });
// @ts-expect-error
room.addEventListener("state", ({ detail }) => detail.msg);
