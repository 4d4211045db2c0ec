// The gallery: pictures of all cells, grouped by type; what is chosen, and where the arrow keys lead.
// It knows the desk's cells and selection; it does not know fields or reports.

import { Census } from "./census.js";
import { acceptDrops, listenToMouse } from "./gallery_mouse.js";
import { Hints } from "./hints.js";
import { Near } from "./near.js";
import { around, make } from "./page.js";
import { Pictures } from "./pictures.js";
import { Seen } from "./seen.js";
import { sorted } from "./sorting.js";
import { idOf, newTile, pictureOf, showCell } from "./tile.js";
import { TileList } from "./tilelist.js";
import { evidenceWords, gettext, interpolate } from "./words.js";

/** @typedef {import("./types.js").Cell} Cell */
/** @typedef {import("./types.js").CellType} CellType */
/** @typedef {import("./types.js").Types} Types */
/** @typedef {{ code: string, section: HTMLElement, list: TileList, count: HTMLElement, open: HTMLElement, evidence: HTMLElement }} Group */

const HEAD_PX = 40; // the heading of a type lies above the first row in view
const FOOT_PX = 8;
const SMALL = 3; // cells of a type that shares its row with others

export class Gallery extends EventTarget {
  /**
   * @param {HTMLElement} root
   * @param {import("./desk.js").Desk} desk
   * @param {Types} types
   * @param {boolean} canChange
   */
  constructor(root, desk, types, canChange) {
    super();
    this.root = root;
    this.desk = desk;
    this.types = types;
    this.canChange = canChange;
    this.sort = "attention";
    this.isOnlyOpen = false;
    /** @type {number | null} the one image whose cells are shown; null: all */
    this.image = null;
    /** Of the cells that were near the view once. @type {Map<number, HTMLElement>} */
    this.tiles = new Map();
    /** The cells that are laid out, as they were laid out. @type {Map<number, Cell>} */
    this.listed = new Map();
    this.census = new Census(); // of the listed cells
    /** @type {Map<string, Group>} */
    this.groups = new Map();
    /** @type {number | null} where a range of chosen cells begins */
    this.anchor = null;
    /** @type {Set<HTMLElement>} */
    this.chosen = new Set();
    /** @type {HTMLElement | null} the one tile that Tab leads to */
    this.tabStop = null;
    this.hints = new Hints();
    this.pictures = new Pictures(root);
    this.seen = new Seen(root, () => this.say("counted"));
    this.near = new Near(root, { enter: (tile) => this.#enter(tile), leave: (tile) => this.#leave(tile), looked: () => this.#stopTab() });
    for (const type of types.all()) root.append(this.#group(type));
    desk.addEventListener("loaded", () => this.fill());
    desk.addEventListener("changed", (event) => this.#update(/** @type {CustomEvent} */ (event).detail.ids));
    desk.addEventListener("selected", () => this.#showSelection());
    root.addEventListener("focusin", (event) => {
      const tile = around(event, ".tile");
      if (tile?.matches(":focus-visible") && !this.desk.selected.has(idOf(tile))) this.pick(idOf(tile));
    });
    listenToMouse(this);
    if (canChange) for (const group of this.groups.values()) acceptDrops(this, group.section, group.code);
  }

  /** Lay all tiles out anew: on loading, sorting and filtering only. */
  fill() {
    this.#showEvidence();
    const cells = [...this.desk.cells.values()].filter((cell) => this.#isShown(cell));
    for (const { list } of this.groups.values()) list.ids = [];
    for (const cell of sorted(cells, this.sort, this.desk.summary?.order ?? [])) this.groups.get(cell.code)?.list.ids.push(cell.id);
    this.listed = new Map(cells.map((cell) => [cell.id, cell]));
    this.census = Census.of(cells);
    for (const tile of this.tiles.values()) this.#show(tile);
    for (const { code, section, list } of this.groups.values()) {
      const number = list.ids.length;
      // Until all is laid out anew, so that no type jumps to another row while it is read.
      section.classList.toggle("is-small", number > 0 && number <= SMALL);
      section.style.setProperty("--few", String(number));
      this.#count(code);
    }
    this.near.look();
    this.say("counted");
    this.#showSelection(true);
  }

  /**
   * All cells in the order in which they stand.
   * @returns {number[]}
   */
  order() {
    return [...this.groups.values()].flatMap(({ list }) => list.ids);
  }

  /** @returns {number | undefined} the first cell of a type, of all types where none is given */
  first(code = "") {
    return code ? this.groups.get(code)?.list.ids[0] : this.#end(1);
  }

  /**
   * The page of cells of one type that stood before the reader and may be confirmed together (S10).
   * @returns {{ code: string, ids: number[], isEarly: boolean } | null}
   */
  seenPage() {
    /** @type {HTMLElement[]} */
    const tiles = [];
    let code = "";
    for (const tile of this.seen.tiles()) {
      const cell = this.#mayPass(idOf(tile));
      if (!cell || (code && cell.code !== code)) continue;
      if (tiles.length >= cell.together) break;
      code = cell.code;
      tiles.push(tile);
    }
    return tiles.length ? { code, ids: tiles.map(idOf), isEarly: !this.seen.areRipe(tiles) } : null;
  }

  /**
   * Whether the picture of a cell has been loaded long enough to have been seen.
   * @param {number} id
   */
  hasShown(id) {
    return this.seen.hasShown(this.tiles.get(id));
  }

  /**
   * The cell beside another one in the gallery, as long as it is of the same group.
   * @param {number} id
   */
  neighbour(id) {
    const ids = this.#listOf(id)?.ids ?? [];
    const at = ids.indexOf(id);
    return ids[at + 1] ?? ids[at - 1] ?? null;
  }

  /** Bring the next cells that may be confirmed as a page into view; false when there are none. */
  showNextPage() {
    for (const { code, section, list } of this.groups.values()) {
      if (!this.census.count(code).open) continue;
      const id = list.ids.find((each) => this.#mayPass(each));
      if (id === undefined) continue;
      if (id === list.ids[0]) this.#reveal(section, true);
      else this.#revealCell(id, true);
      return true;
    }
    return false;
  }

  /** @param {string} code */
  showGroup(code) {
    const group = this.groups.get(code);
    if (group) this.#reveal(group.section, true);
  }

  /** A letter on every tile in view; what is decided already gets the longer ones. */
  showHints() {
    const tiles = this.seen.tiles();
    const isDecided = (/** @type {HTMLElement} */ tile) => tile.classList.contains("is-decided");
    this.hints.show([...tiles.filter((tile) => !isDecided(tile)), ...tiles.filter(isDecided)]);
  }

  /** @param {string} key */
  typeHint(key) {
    const tile = this.hints.type(key);
    if (!tile) return;
    this.anchor = idOf(tile);
    this.desk.select([this.anchor]);
    this.focus(this.anchor);
  }

  /**
   * Arrow keys, Home and End; `isMore` keeps what is selected and adds.
   * @param {string} key
   * @param {boolean} isMore
   */
  move(key, isMore) {
    const from = this.desk.current ?? -1;
    const id = this.listed.has(from) ? this.#moved(from, key) : this.#end(1);
    if (id === undefined) return;
    if (isMore) this.desk.select([...this.desk.selected, id], id);
    else {
      this.anchor = id;
      this.desk.select([id]);
    }
    this.focus(id);
  }

  /** @param {1 | -1} step */
  nextGroup(step) {
    const groups = [...this.groups.values()].filter((group) => group.list.ids.length);
    if (!groups.length) return;
    const code = this.desk.get(this.desk.current)?.code;
    const index = groups.findIndex((group) => group.code === code);
    const next = groups[(index + step + groups.length) % groups.length];
    const [id] = next.list.ids;
    this.desk.select([id]);
    this.#reveal(next.section, true);
    this.focus(id);
  }

  /** @param {number} id */
  focus(id) {
    if (!this.listed.has(id)) return;
    this.#revealCell(id);
    this.tiles.get(id)?.focus({ preventScroll: true });
  }

  /**
   * Scroll the gallery, and never the page around it: on a small screen the chosen cell stands above it.
   * @param {Element} element a tile, or the section of a type
   * @param {boolean} isFirst bring it to the top, not only into view
   */
  #reveal(element, isFirst = false) {
    const [frame, box] = [this.root.getBoundingClientRect(), element.getBoundingClientRect()];
    const above = box.top - frame.top - (element.matches(".tile") ? HEAD_PX : 0);
    const below = box.bottom - frame.bottom + FOOT_PX;
    if (isFirst || above < 0) this.root.scrollTop += above;
    else if (below > 0) this.root.scrollTop += below;
  }

  /**
   * @param {number} id
   * @param {boolean} isFirst
   */
  #revealCell(id, isFirst = false) {
    const list = this.#listOf(id);
    if (!list) return;
    if (this.near.frame) this.near.look(); // cells have moved since
    if (!this.tiles.get(id)?.isConnected) {
      this.root.scrollTop += list.element.getBoundingClientRect().top + list.topOf(id) - this.root.getBoundingClientRect().top - HEAD_PX;
      this.near.look();
    }
    const tile = this.tiles.get(id);
    if (tile?.isConnected) this.#reveal(tile, isFirst);
  }

  /**
   * Choose a cell; with Shift all from the last one chosen, with Ctrl one more.
   * @param {number} id
   * @param {{ shiftKey?: boolean, ctrlKey?: boolean, metaKey?: boolean }} keys
   */
  pick(id, keys = {}) {
    if (keys.shiftKey && this.anchor !== null) {
      const order = this.order();
      const [a, b] = [order.indexOf(this.anchor), order.indexOf(id)].sort((x, y) => x - y);
      this.desk.select(order.slice(Math.max(a, 0), b + 1), id);
      return;
    }
    this.anchor = id;
    if (!keys.ctrlKey && !keys.metaKey) return this.desk.select([id]);
    const ids = new Set(this.desk.selected);
    if (ids.has(id) && ids.size > 1) ids.delete(id);
    else ids.add(id);
    this.desk.select([...ids], ids.has(id) ? id : [...ids].at(-1));
  }

  /**
   * @param {string} name
   * @param {object} detail
   */
  say(name, detail = {}) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  /**
   * @param {CellType} type
   * @returns {HTMLElement}
   */
  #group(type) {
    const group = {
      count: make("span", { className: "group-count" }),
      evidence: make("span", {}),
      open: make("span", { className: "group-open" }),
      list: new TileList(make("div", { className: "tiles", role: "listbox", "aria-label": type.label, "aria-multiselectable": "true" }), (id) => this.#tile(id)),
    };
    const name = make("h2", { className: "group-name" }, type.label);
    const head = make("header", { className: "group-head" }, name, group.count, group.evidence, group.open);
    const section = make("section", { className: "group", dataset: { code: type.code } }, head, group.list.element);
    section.style.setProperty("--type", type.color);
    section.hidden = true;
    this.near.watch(group.list);
    this.groups.set(type.code, { code: type.code, section, ...group });
    return section;
  }

  #showEvidence() {
    for (const group of this.groups.values()) {
      const level = this.desk.evidence[group.code]?.level;
      const isWeak = level === "weak" || level === "none";
      group.evidence.className = isWeak ? `evidence evidence-${level}` : "";
      group.evidence.textContent = isWeak ? evidenceWords(level) : "";
    }
  }

  /**
   * @param {number} id
   * @returns {HTMLElement}
   */
  #tile(id) {
    const known = this.tiles.get(id);
    if (known) return known;
    const tile = newTile(id, this.canChange, this.desk.crop(id));
    this.tiles.set(id, tile);
    this.#show(tile);
    this.#mark(tile, this.desk.selected.has(id));
    return tile;
  }

  /** @param {HTMLElement} tile */
  #show(tile) {
    const { cells, numbers } = this.desk;
    const cell = cells.get(idOf(tile));
    const place = interpolate(gettext("cell %(number)s of %(all)s"), { number: numbers.get(idOf(tile)), all: cells.size });
    if (cell) showCell(tile, cell, this.types, place);
  }

  /**
   * @param {HTMLElement} tile
   * @param {boolean} isChosen
   */
  #mark(tile, isChosen) {
    tile.setAttribute("aria-selected", String(isChosen));
    if (isChosen) this.chosen.add(tile);
    else this.chosen.delete(tile);
  }

  /**
   * The list in which a cell stands.
   * @param {number} id
   */
  #listOf(id) {
    return this.groups.get(this.listed.get(id)?.code ?? "")?.list;
  }

  /** @param {HTMLElement} tile */
  #enter(tile) {
    this.pictures.want(pictureOf(tile));
    this.seen.watch(tile);
  }

  /** @param {HTMLElement} tile */
  #leave(tile) {
    this.pictures.drop(pictureOf(tile));
    this.seen.leave(tile);
  }

  /** @param {Cell} cell */
  #isShown(cell) {
    return !(this.isOnlyOpen && cell.decided) && (this.image === null || cell.image === this.image);
  }

  /**
   * The cell, if it may be confirmed with others. One whose picture could not be loaded was not seen: it is confirmed
   * alone.
   * @param {number} id
   */
  #mayPass(id) {
    if (this.tiles.get(id)?.classList.contains("no-picture")) return undefined;
    const cell = this.desk.get(id);
    return cell && !cell.decided && cell.together > 1 ? cell : undefined;
  }

  /**
   * Only the changed tiles move; the others stay where the reader saw them.
   * @param {number[]} ids
   */
  #update(ids) {
    const codes = new Set();
    for (const id of ids) {
      const cell = this.desk.get(id);
      if (!cell) continue;
      const tile = this.tiles.get(id);
      if (tile) this.#show(tile);
      const before = this.listed.get(id);
      const stays = before?.code === cell.code; // decided with its own label, it stays where it was seen
      const after = stays || this.#isShown(cell) ? cell : undefined;
      if (!stays) {
        this.#listOf(id)?.remove(id);
        if (after) this.groups.get(cell.code)?.list.prepend(id);
      }
      if (after) this.listed.set(id, after);
      else this.listed.delete(id);
      this.census.replace(before, after);
      for (const each of [before, after]) if (each) codes.add(each.code);
    }
    for (const code of codes) this.#count(code);
    this.near.soon();
    this.say("counted");
  }

  /** @param {string} code */
  #count(code) {
    const group = this.groups.get(code);
    if (!group) return;
    const { all, open } = this.census.count(code);
    group.section.hidden = all === 0;
    group.count.textContent = String(all);
    group.open.textContent = open ? interpolate(gettext("%(open)s to review"), { open }) : gettext("all reviewed");
    group.open.classList.toggle("is-done", open === 0);
  }

  #showSelection(isQuiet = false) {
    const { selected, current } = this.desk;
    for (const tile of [...this.chosen]) if (!selected.has(idOf(tile))) this.#mark(tile, false);
    for (const id of selected) {
      const tile = this.tiles.get(id);
      if (tile) this.#mark(tile, true);
    }
    if (!isQuiet && current !== null) this.#revealCell(current);
    this.#stopTab();
  }

  /** Tab leads to the chosen cell, or to the first one that is there. */
  #stopTab() {
    const kept = this.tabStop?.isConnected ? this.tabStop : /** @type {HTMLElement | null} */ (this.root.querySelector(".tile"));
    const chosen = this.tiles.get(this.desk.current ?? -1);
    const stop = chosen?.isConnected ? chosen : kept;
    if (this.tabStop) this.tabStop.tabIndex = -1;
    if (stop) stop.tabIndex = 0;
    this.tabStop = stop;
  }

  /**
   * The first cell of the page (1) or the last one (-1).
   * @param {1 | -1} direction
   * @returns {number | undefined}
   */
  #end(direction) {
    const order = this.order();
    return direction > 0 ? order[0] : order.at(-1);
  }

  /**
   * The cell before or after another one, also over the border of a type.
   * @param {number} id
   * @param {1 | -1} direction
   * @returns {number | undefined}
   */
  #beside(id, direction) {
    const order = this.order();
    return order[order.indexOf(id) + direction];
  }

  /**
   * @param {number} from
   * @param {string} key
   * @returns {number | undefined}
   */
  #moved(from, key) {
    if (key === "Home") return this.#end(1);
    if (key === "End") return this.#end(-1);
    if (key === "ArrowRight") return this.#beside(from, 1) ?? from;
    if (key === "ArrowLeft") return this.#beside(from, -1) ?? from;
    return this.#rowMove(from, key === "ArrowDown" ? 1 : -1);
  }

  /**
   * The nearest cell of the next row, which is near the view as the cell itself is.
   * @param {number} from
   * @param {1 | -1} step
   */
  #rowMove(from, step) {
    this.#revealCell(from);
    const order = this.order();
    const boxOf = (/** @type {number} */ id) => /** @type {HTMLElement} */ (this.tiles.get(id)).getBoundingClientRect();
    const start = boxOf(from);
    let best = from;
    let row = null;
    let least = Infinity;
    for (let at = order.indexOf(from) + step; this.tiles.get(order[at])?.isConnected; at += step) {
      const box = boxOf(order[at]);
      if (Math.abs(box.top - start.top) < 4) continue;
      row ??= box.top;
      if (Math.abs(box.top - row) > 4) break;
      const far = Math.abs(box.left - start.left);
      if (far < least) [best, least] = [order[at], far];
    }
    return best;
  }
}
