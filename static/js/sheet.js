// The contact sheet: up to 24 cells of one type at once, large. A cell can be taken out or given another type, and one
// key confirms the others when each of them has been looked at; how many that may be is the server's rule (S10).

import { Dwell } from "./dwell.js";
import { Hints } from "./hints.js";
import { around, make } from "./page.js";
import { sorted } from "./sorting.js";
import { describe } from "./tile.js";
import { decimal, gettext, interpolate, ngettext } from "./words.js";

/** @typedef {import("./types.js").Cell} Cell */

const MOST = 24;
const LOOK_MS = 1500; // that each picture is on the screen before its cell is confirmed with others
const STOOD_MS = 150; // before it is given a type alone
const SEEN_PART = 0.9;

/**
 * The cells that one sheet may show: open ones of one type, no more than may be confirmed together. Pure.
 * @param {Cell[]} cells in the order in which they are shown
 * @param {string} code
 * @returns {Cell[]}
 */
export function cellsOfSheet(cells, code) {
  const open = cells.filter((cell) => cell.code === code && !cell.decided && cell.together > 1);
  const most = Math.min(MOST, ...open.map((cell) => cell.together));
  return open.slice(0, most);
}

export class Sheet {
  /**
   * @param {HTMLElement} root of the page; its `data-sheet` says that the sheet is shown instead of the columns
   * @param {HTMLElement} section
   * @param {import("./desk.js").Desk} desk
   * @param {import("./types.js").Types} types
   * @param {import("./types.js").Tell} tell
   */
  constructor(root, section, desk, types, tell) {
    this.root = root;
    this.section = section;
    this.desk = desk;
    this.types = types;
    this.tell = tell;
    this.code = "";
    /** Cell to its tile, in their order. @type {Map<number, HTMLElement>} */
    this.tiles = new Map();
    /** Cells that were taken out of a sheet: they are looked at one by one. @type {Set<number>} */
    this.out = new Set();
    /** @type {number | null} */
    this.current = null;
    /** @type {Dwell<Element>} */
    this.dwell = new Dwell();
    this.hints = new Hints();
    this.timer = 0;
    this.watcher = new IntersectionObserver((entries) => this.#watch(entries), { threshold: [0, SEEN_PART] });
    document.addEventListener("visibilitychange", () => this.#lookAgain());
    desk.addEventListener("changed", () => this.isOn && this.#show());
    this.#part("cells").addEventListener("click", (/** @type {Event} */ event) => this.#click(event));
    this.#part("cells").addEventListener("pointermove", (/** @type {Event} */ event) => {
      const tile = around(event, ".sheet-cell");
      if (tile) this.#choose(Number(tile.dataset.id));
    });
    this.#part("sheet-confirm").addEventListener("click", () => this.confirm());
    this.#part("sheet-close").addEventListener("click", () => this.close());
  }

  get isOn() {
    return this.root.hasAttribute("data-sheet");
  }

  /** Show the next cells of a type, or of the first type that has some; false when there are none. */
  open(code = "") {
    const cells = sorted([...this.desk.cells.values()].filter((cell) => !this.out.has(cell.id)), "attention", this.desk.summary?.order ?? []);
    const codes = [code, ...this.types.all().map((type) => type.code)];
    const sheet = codes.map((each) => cellsOfSheet(cells, each)).find((found) => found.length);
    if (!sheet) {
      if (this.isOn) this.close();
      return false;
    }
    this.root.setAttribute("data-sheet", "");
    this.section.hidden = false;
    this.code = sheet[0].code;
    for (const tile of this.tiles.values()) this.watcher.unobserve(tile);
    this.tiles = new Map(sheet.map((cell) => [cell.id, this.#tile(cell)]));
    this.#part("cells").replaceChildren(...this.tiles.values());
    this.#part("cells").scrollTop = 0;
    for (const tile of this.tiles.values()) this.watcher.observe(tile);
    this.#choose(sheet[0].id, true);
    this.#show();
    return true;
  }

  /** Leave the sheet; the cells that were taken out are chosen. */
  close() {
    this.hints.hide();
    this.root.removeAttribute("data-sheet");
    this.section.hidden = true;
    const out = [...this.out].filter((id) => !this.desk.get(id)?.decided);
    this.out.clear();
    if (out.length) this.desk.select(out.slice(0, 1));
    else this.desk.select([...this.desk.selected], this.desk.current); // and scroll to it
    if (out.length) this.tell(interpolate(ngettext("%(count)s taken out: review it one by one.", "%(count)s taken out: review them one by one.", out.length), { count: out.length }));
  }

  /** Confirm the cells of the sheet that were not taken out; returns how to take that back. */
  confirm() {
    const ids = this.#open();
    const early = ids.filter((id) => !this.#stood(id, LOOK_MS)).length;
    if (early) return void this.tell(interpolate(gettext("%(early)s of %(count)s cells have not been on the screen for %(seconds)s s yet."), { early, count: ids.length, seconds: decimal(LOOK_MS / 1000) }));
    if (!ids.length) return void this.#next();
    const retract = this.desk.decide(ids, null);
    this.tell(interpolate(gettext("%(count)s confirmed: %(name)s."), { count: ids.length, name: this.types.name(this.code) }), false, { name: gettext("Undo"), run: () => this.desk.undo() });
    this.#next();
    return retract;
  }

  /**
   * Give the current cell a type.
   * @param {string} code
   */
  give(code) {
    if (this.current === null || !this.#open().includes(this.current)) return void this.tell(gettext("Choose an open cell of the sheet first."));
    if (!this.#stood(this.current, STOOD_MS)) return void this.tell(gettext("Loading the picture…"));
    return this.desk.decide([this.current], code);
  }

  /** Take the current cell out of the sheet, or in again; nothing is decided on it. */
  takeOut() {
    if (this.current === null) return;
    if (!this.out.delete(this.current)) this.out.add(this.current);
    this.#show();
  }

  /** @param {string} key */
  move(key) {
    const ids = [...this.tiles.keys()];
    const tops = [...this.tiles.values()].map((tile) => tile.offsetTop);
    const columns = tops.filter((top) => top === tops[0]).length;
    const step = /** @type {Record<string, number>} */ ({ ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -ids.length, End: ids.length })[key];
    const at = Math.min(Math.max(ids.indexOf(this.current ?? -1) + step, 0), ids.length - 1);
    this.#choose(ids[at], true);
  }

  /** @param {string} key one of the letters on the pictures */
  typeHint(key) {
    const tile = this.hints.type(key);
    if (tile) this.#choose(Number(tile.dataset.id), true);
  }

  showHints() {
    this.hints.show(this.#open().map((id) => /** @type {HTMLElement} */ (this.tiles.get(id))));
  }

  #next() {
    if (!this.open(this.code)) this.tell(gettext("No more sheets: the cells left are reviewed one by one."));
  }

  /** The cells of the sheet that one key would confirm. */
  #open() {
    return [...this.tiles.keys()].filter((id) => {
      const cell = this.desk.get(id);
      return cell && !cell.decided && cell.code === this.code && !this.out.has(id);
    });
  }

  /**
   * @param {number} id
   * @param {number} ms
   */
  #stood(id, ms) {
    const tile = this.tiles.get(id);
    return tile !== undefined && this.dwell.longest(tile, performance.now()) >= ms;
  }

  /** @param {Cell} cell */
  #tile(cell) {
    const picture = make("img", { alt: "", draggable: false, src: this.desk.crop(cell.id) });
    const out = make("span", { className: "sheet-out", "aria-hidden": "true", title: gettext("Take out (X)") }, "×");
    const tile = make("div", { className: "sheet-cell", role: "option", tabIndex: -1, dataset: { id: cell.id } }, picture, out, make("span", { className: "sheet-type" }));
    picture.decode().then(() => {
      this.dwell.load(tile, performance.now());
      this.#showReady();
    }, () => tile.classList.add("has-failed"));
    return tile;
  }

  /**
   * @param {number} id
   * @param {boolean} isFocused
   */
  #choose(id, isFocused = false) {
    this.current = id;
    for (const [each, tile] of this.tiles) {
      tile.setAttribute("aria-selected", String(each === id));
      tile.tabIndex = each === id ? 0 : -1;
    }
    const tile = this.tiles.get(id);
    if (!isFocused || !tile) return;
    tile.focus({ preventScroll: true });
    tile.scrollIntoView({ block: "nearest" });
  }

  /** @param {Event} event */
  #click(event) {
    const tile = around(event, ".sheet-cell");
    if (!tile) return;
    this.#choose(Number(tile.dataset.id));
    if (around(event, ".sheet-out")) this.takeOut();
  }

  #show() {
    for (const [id, tile] of this.tiles) {
      const cell = this.desk.get(id);
      if (!cell) continue;
      const isOut = this.out.has(id);
      tile.classList.toggle("is-out", isOut);
      tile.classList.toggle("is-decided", cell.decided);
      tile.querySelector(".sheet-type")?.replaceChildren(cell.decided ? `✓ ${this.types.get(cell.code).short}` : isOut ? gettext("Taken out") : "");
      tile.setAttribute("aria-label", `${interpolate(gettext("cell %(number)s of %(all)s"), { number: this.desk.numbers.get(id), all: this.desk.cells.size })}, ${describe(cell, this.types)}${isOut ? gettext(", taken out") : ""}`);
    }
    const { open } = this.desk.census.count(this.code);
    this.#part("sheet-title").textContent = this.types.get(this.code).label;
    this.#part("sheet-left").textContent = interpolate(gettext("%(open)s to review"), { open });
    this.#showReady();
  }

  #showReady() {
    clearTimeout(this.timer);
    if (!this.isOn) return;
    const ids = this.#open();
    const ready = ids.filter((id) => this.#stood(id, LOOK_MS)).length;
    const isReady = ready === ids.length;
    this.#part("sheet-confirm").disabled = !isReady;
    this.#part("sheet-confirm-label").textContent = !ids.length ? gettext("Next sheet") : isReady ? interpolate(gettext("Confirm %(count)s %(type)s"), { count: ids.length, type: this.types.get(this.code).short }) : interpolate(gettext("Looked at %(ready)s of %(count)s"), { ready, count: ids.length });
    if (!isReady) this.timer = setTimeout(() => this.#showReady(), 100);
  }

  /** @param {IntersectionObserverEntry[]} entries */
  #watch(entries) {
    const now = performance.now();
    for (const { target, intersectionRatio } of entries) {
      if (intersectionRatio >= SEEN_PART && !document.hidden) this.dwell.enter(target, now);
      else this.dwell.leave(target, now);
    }
    this.#showReady();
  }

  // After the window was hidden the browser says anew what is in view.
  #lookAgain() {
    const now = performance.now();
    for (const tile of this.tiles.values()) {
      this.dwell.leave(tile, now);
      this.watcher.unobserve(tile);
      this.watcher.observe(tile);
    }
  }

  /**
   * @param {string} name
   * @returns {any}
   */
  #part(name) {
    return this.section.querySelector(`[data-part="${name}"]`);
  }
}

/** What keys do while the sheet is shown; a type's key gives the current cell that type, except for X. */
/**
 * @param {Sheet} sheet
 * @returns {Record<string, import("./keyboard.js").Action>}
 */
export function sheetKeys(sheet) {
  const arrows = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"];
  const move = { repeats: true, run: (/** @type {KeyboardEvent} */ event) => sheet.move(event.key) };
  const takeOut = () => {
    sheet.takeOut();
    return () => sheet.takeOut();
  };
  const showHints = () => {
    sheet.showHints();
    return () => sheet.hints.hide();
  };
  return {
    ...Object.fromEntries(arrows.map((key) => [key, move])),
    Enter: { retracts: true, run: () => sheet.confirm() },
    Escape: { run: () => sheet.close() },
    x: { retracts: true, run: takeOut },
    j: { retracts: true, run: showHints },
  };
}
