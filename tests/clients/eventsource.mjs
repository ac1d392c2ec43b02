// eventsource.mjs PACKAGE URL: listens with the npm package `eventsource`, which resumes by
// itself. Prints `ID<tab>DATA` for each event.
import { pathToFileURL } from "node:url";

const [name, url] = process.argv.slice(2);
const { EventSource } = await import(pathToFileURL(name));
const source = new EventSource(url);
source.onmessage = ({ lastEventId, data }) => console.log(`${lastEventId}\t${data}`);
source.onerror = ({ code, message }) => {
  if (source.readyState !== EventSource.CLOSED) return;
  console.error(code, message);
  process.exit(1);
};
