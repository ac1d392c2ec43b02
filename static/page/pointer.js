/** Nothing moves under a pointer between press and release. */

export let pressed = false;
let releasing;
const afterRelease = new Set();

/** Changes the page now, or when the pointer is up. */
export function calmly(act) {
  if (!pressed) return act();
  // The last call decides the order.
  afterRelease.delete(act);
  afterRelease.add(act);
}

addEventListener("pointerdown", press, true);
for (const type of ["pointerup", "pointercancel"]) addEventListener(type, release, true);
// A release outside the window, or on a menu of the browser.
addEventListener("blur", release);
addEventListener("pointermove", ({ buttons }) => buttons || release());

function press({ button }) {
  releasing = clearTimeout(releasing);
  pressed ||= button === 0;
}

function release() {
  if (!pressed || releasing) return;
  // The click of a finger follows its release.
  releasing = setTimeout(() => {
    const acts = [...afterRelease];
    afterRelease.clear();
    pressed = releasing = undefined;
    // An exception in one does not stop the others.
    for (const act of acts) queueMicrotask(act);
  }, 50);
}
