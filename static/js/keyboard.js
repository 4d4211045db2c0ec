// Keys of a page by a table, with two guards: a held key decides nothing, and neither does a barcode scanner.
// A scanner types like a keyboard, but faster than a person, and ends with Enter or Tab.

/**
 * @typedef {object} Action
 * @property {(event: KeyboardEvent) => unknown} run what the key does; of a function that it returns see `retract`
 * @property {boolean} [repeats] whether a held key does it again and again: moving and zooming, never deciding
 * @property {() => void} [release] run when the key is let go, or when the window loses the keyboard
 * @property {boolean} [retracts] `run` returns a function that takes it back, or nothing
 */

export const SCAN_GAP_MS = 60; // a person does not press two keys within this time, a scanner does within 5 to 40 ms
const SHORTEST_SCAN = 3;

/** Tells bursts of keys from single ones, by the times at which they were pressed. Pure. */
export class Burst {
  constructor() {
    this.text = "";
    this.last = -Infinity;
  }

  /**
   * @param {string} key
   * @param {number} at milliseconds
   * @returns {"single" | "burst" | "end"} `end`: the key that closes a burst
   */
  take(key, at) {
    const isFast = at - this.last <= SCAN_GAP_MS;
    const wasTyping = isFast && this.text.length > 0;
    const isEnd = key === "Enter" || key === "Tab";
    if (key.length > 1 && !isEnd) {
      if (key !== "Shift") this.#clear();
      return "single";
    }
    this.last = at;
    if (isEnd) {
      if (!wasTyping) this.#clear();
      return wasTyping ? "end" : "single";
    }
    this.text = wasTyping ? this.text + key : key;
    return wasTyping ? "burst" : "single";
  }

  /** The text of a burst that has ended; "" where it is too short to be a scan. */
  scanned() {
    const text = this.text;
    this.#clear();
    return text.length >= SHORTEST_SCAN ? text : "";
  }

  #clear() {
    this.text = "";
    this.last = -Infinity;
  }
}

/**
 * The name of a key in a table: `n`, `Shift+n`, `ArrowLeft`, `Shift+Enter`, `?`, `Ctrl+z`, `Ctrl+Shift+z`.
 * @param {{ key: string, shiftKey: boolean, ctrlKey?: boolean, metaKey?: boolean }} event
 */
export function nameOf({ key, shiftKey, ctrlKey = false, metaKey = false }) {
  const name = key.length === 1 ? key.toLowerCase() : key;
  const isPlain = key.length === 1 && name === key.toUpperCase(); // "?" has its Shift in itself
  return `${ctrlKey || metaKey ? "Ctrl+" : ""}${shiftKey && !isPlain ? "Shift+" : ""}${name}`;
}

/**
 * @param {(name: string, event: KeyboardEvent) => Action | null | undefined} find the action of a key, as the page is now
 * @param {(text: string) => void} onScan
 */
export function listenToKeys(find, onScan) {
  const burst = new Burst();
  /** @type {(() => void) | null} */
  let retract = null;
  /** @type {{ key: string, release: () => void } | null} a key that is held */
  let held = null;

  function letGo() {
    held?.release();
    held = null;
  }

  document.addEventListener("keyup", (event) => held?.key === event.key && letGo());
  addEventListener("blur", letGo);
  document.addEventListener("keydown", (event) => {
    if (event.altKey || document.querySelector("dialog[open]")) return;
    const target = event.target instanceof Element ? event.target : document.body;
    if (target.closest("input, textarea, select, .dropdown-menu, .navbar")) return;
    if (event.ctrlKey || event.metaKey) {
      const shortcut = find(nameOf(event), event);
      if (!shortcut) return; // the browser's own
      event.preventDefault();
      if (!event.repeat) shortcut.run(event);
      return;
    }
    const isPress = event.key === "Enter" || event.key === " ";
    if (event.repeat && isPress && target.closest("button, a, summary")) return event.preventDefault();
    const kind = event.repeat ? "single" : burst.take(event.key, event.timeStamp);
    if (kind !== "single") {
      event.preventDefault();
      retract?.();
      retract = null;
      const text = kind === "end" ? burst.scanned() : "";
      if (text) onScan(text);
      return;
    }
    if (isPress && target.closest("button, a, summary")) return;
    if (event.key !== "Shift") retract = null;
    const action = find(nameOf(event), event);
    if (!action || (event.repeat && !action.repeats)) {
      if (action) event.preventDefault();
      return;
    }
    event.preventDefault();
    letGo();
    if (action.release) held = { key: event.key, release: action.release };
    const back = action.run(event);
    retract = action.retracts && typeof back === "function" ? /** @type {() => void} */ (back) : null;
  }, true);
}
