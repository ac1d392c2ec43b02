// chat_ws.mjs PACKAGE URL: sends each line of its input, and prints each text, with the npm
// package `ws`.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [name, url] = process.argv.slice(2);
const { WebSocket } = await import(pathToFileURL(name));
const room = new WebSocket(url);
room.on("message", (data) => console.log(String(data)));
room.on("open", () => createInterface(process.stdin).on("line", (line) => room.send(line)));
