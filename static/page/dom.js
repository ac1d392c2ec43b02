/** Elements of the page, and what the browser stores for it. */

const query = new URLSearchParams(location.search);
/** `?wall`: the messages alone, for a screen or a stream; also `?wall=transparent`. */
export const isWall = query.has("wall");
if (isWall) document.documentElement.dataset.wall = query.get("wall");

export const $ = (id) => document.getElementById(id);
export const on = (id, type, act) => $(id).addEventListener(type, act);

/** An element with a class and content. */
export function element(tag, className, ...content) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...content);
  return made;
}

/** Moves the focus away from an element to be removed. */
export function keepFocus(node, heir) {
  if (node.contains(document.activeElement)) heir.focus({ preventScroll: true });
}

/**
 * Reads or stores a value. If storage is full, or forbidden in a frame, this page keeps it.
 * So does a wall: what somebody has written in this browser is not for it.
 */
function storage(kind) {
  const kept = {};
  return (key, value) => {
    if (value === undefined && key in kept) return kept[key];
    if (value !== undefined) kept[key] = value;
    try {
      const store = isWall ? undefined : globalThis[kind];
      if (value === undefined) return store?.getItem(`wschat.${key}`) ?? "";
      store?.setItem(`wschat.${key}`, value);
    } catch {
      return "";
    }
  };
}
/** Until the tab is closed: token, draft, unsent messages. */
export const inTab = storage("sessionStorage");
/** The settings. */
export const forGood = storage("localStorage");
