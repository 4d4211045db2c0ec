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
import { fillTile, idOf, newTile, pictureOf, showCell } from "./tile.js";
import { evidenceWords, gettext, interpolate } from "./words.js";

/** @typedef {import("./types.js").Cell} Cell */
/** @typedef {import("./types.js").CellType} CellType */
/** @typedef {import("./types.js").Types} Types */
/** @typedef {{ code: string, section: HTMLElement, list: HTMLElement, count: HTMLElement, open: HTMLElement, evidence: HTMLElement }} Group */

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
    /** @type {Map<number, HTMLElement>} */
    this.tiles = new Map();
    /** The cells that are laid out, as their tiles show them. @type {Map<number, Cell>} */
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
    this.near = new Near(root, { enter: (tile) => this.#enter(tile), leave: (tile) => this.#leave(tile) });
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
    /** @type {Map<string, HTMLElement[]>} */
    const lists = new Map();
    for (const cell of sorted(cells, this.sort, this.desk.summary?.order ?? [])) {
      const list = lists.get(cell.code) ?? [];
      list.push(this.#tile(cell));
      lists.set(cell.code, list);
    }
    this.listed = new Map(cells.map((cell) => [cell.id, cell]));
    this.census = Census.of(cells);
    for (const [code, group] of this.groups) {
      const tiles = lists.get(code) ?? [];
      group.list.replaceChildren(...tiles);
      // Until all is laid out anew, so that no type jumps to another row while it is read.
      group.section.classList.toggle("is-small", tiles.length > 0 && tiles.length <= SMALL);
      group.section.style.setProperty("--few", String(tiles.length));
      this.#count(code);
    }
    this.near.look();
    this.say("counted");
    this.#showSelection(true);
  }

  /**
   * All tiles in the order in which they stand.
   * @returns {HTMLElement[]}
   */
  allTiles() {
    return [...this.root.querySelectorAll(".tile")].map((tile) => /** @type {HTMLElement} */ (tile));
  }

  /** @returns {number | undefined} the first cell of a type, of all types where none is given */
  first(code = "") {
    const tile = /** @type {HTMLElement | null} */ ((code ? this.groups.get(code)?.list : this.root)?.querySelector(".tile"));
    return tile ? idOf(tile) : undefined;
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
      const cell = this.#mayPass(tile);
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
    const tile = this.tiles.get(id);
    const next = tile?.nextElementSibling ?? tile?.previousElementSibling;
    return next ? idOf(next) : null;
  }

  /** Bring the next cells that may be confirmed as a page into view; false when there are none. */
  showNextPage() {
    for (const { code, section, list } of this.groups.values()) {
      if (!this.census.count(code).open) continue;
      const tile = [...list.children].find((each) => this.#mayPass(each));
      if (!tile) continue;
      this.#reveal(tile.previousElementSibling ? tile : section, true);
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
    const from = this.tiles.get(this.desk.current ?? -1);
    const tile = from?.isConnected ? this.#moved(from, key) : this.#end(1);
    if (!tile) return;
    const id = idOf(tile);
    if (isMore) this.desk.select([...this.desk.selected, id], id);
    else {
      this.anchor = id;
      this.desk.select([id]);
    }
    this.focus(id);
  }

  /** @param {1 | -1} step */
  nextGroup(step) {
    const groups = [...this.groups.values()].filter((group) => group.list.children.length);
    if (!groups.length) return;
    const code = this.desk.get(this.desk.current)?.code;
    const index = groups.findIndex((group) => group.code === code);
    const next = groups[(index + step + groups.length) % groups.length];
    const id = idOf(next.list.children[0]);
    this.desk.select([id]);
    this.#reveal(next.section, true);
    this.focus(id);
  }

  /** @param {number} id */
  focus(id) {
    const tile = this.tiles.get(id);
    if (!tile?.isConnected) return;
    tile.focus({ preventScroll: true });
    this.#reveal(tile);
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
   * Choose a cell; with Shift all from the last one chosen, with Ctrl one more.
   * @param {number} id
   * @param {{ shiftKey?: boolean, ctrlKey?: boolean, metaKey?: boolean }} keys
   */
  pick(id, keys = {}) {
    if (keys.shiftKey && this.anchor !== null) {
      const order = this.allTiles().map(idOf);
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
      list: make("div", { className: "tiles", role: "listbox", "aria-label": type.label, "aria-multiselectable": "true" }),
    };
    const name = make("h2", { className: "group-name" }, type.label);
    const head = make("header", { className: "group-head" }, name, group.count, group.evidence, group.open);
    const section = make("section", { className: "group", dataset: { code: type.code } }, head, group.list);
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
   * @param {Cell} cell
   * @returns {HTMLElement}
   */
  #tile(cell) {
    const tile = this.tiles.get(cell.id) ?? newTile(cell.id, this.canChange);
    this.tiles.set(cell.id, tile);
    const { cells, numbers, selected } = this.desk;
    const place = interpolate(gettext("cell %(number)s of %(all)s"), { number: numbers.get(cell.id), all: cells.size });
    showCell(tile, cell, this.types, place);
    tile.setAttribute("aria-selected", String(selected.has(cell.id)));
    return tile;
  }

  /** @param {HTMLElement} tile */
  #enter(tile) {
    const cell = this.desk.get(idOf(tile));
    if (cell && !tile.children.length) {
      fillTile(tile, this.desk.crop(cell.id));
      this.#tile(cell);
    }
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
   * The cell of a tile, if it may be confirmed with others. One whose picture could not be loaded was not seen: it is
   * confirmed alone.
   * @param {Element} tile
   */
  #mayPass(tile) {
    if (tile.classList.contains("no-picture")) return undefined;
    const cell = this.desk.get(idOf(tile));
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
      const before = this.listed.get(id);
      const tile = this.#tile(cell);
      const list = this.groups.get(cell.code)?.list;
      if (this.#isShown(cell)) {
        if (tile.parentElement !== list) list?.prepend(tile);
      } else if (tile.parentElement !== list) tile.remove(); // decided with its own label, it stays where it was seen
      const after = tile.isConnected ? cell : undefined;
      if (after) this.listed.set(id, after);
      else this.listed.delete(id);
      this.census.replace(before, after);
      for (const each of [before, after]) if (each) codes.add(each.code);
    }
    for (const code of codes) this.#count(code);
    this.near.look();
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
    for (const tile of this.chosen) if (!selected.has(idOf(tile))) tile.setAttribute("aria-selected", "false");
    this.chosen.clear();
    for (const id of selected) {
      const tile = this.tiles.get(id);
      if (!tile) continue;
      tile.setAttribute("aria-selected", "true");
      this.chosen.add(tile);
    }
    const tile = this.tiles.get(current ?? -1);
    const stop = tile ?? (this.tabStop?.isConnected ? this.tabStop : this.#end(1));
    if (this.tabStop) this.tabStop.tabIndex = -1;
    if (stop) stop.tabIndex = 0;
    this.tabStop = stop;
    if (!isQuiet && tile?.isConnected) this.#reveal(tile);
  }

  /**
   * The first tile of the page (1) or the last one (-1).
   * @param {1 | -1} direction
   * @returns {HTMLElement | null}
   */
  #end(direction) {
    const groups = [...this.groups.values()];
    if (direction < 0) groups.reverse();
    const list = groups.find((group) => group.list.children.length)?.list;
    return /** @type {HTMLElement | null} */ ((direction > 0 ? list?.firstElementChild : list?.lastElementChild) ?? null);
  }

  /**
   * The tile before or after another one, also over the border of a type.
   * @param {HTMLElement} tile
   * @param {1 | -1} direction
   * @returns {HTMLElement | null}
   */
  #beside(tile, direction) {
    const sibling = direction > 0 ? tile.nextElementSibling : tile.previousElementSibling;
    if (sibling) return /** @type {HTMLElement} */ (sibling);
    const codes = [...this.groups.keys()];
    const code = around({ target: tile }, ".group")?.dataset.code ?? "";
    for (let at = codes.indexOf(code) + direction; at >= 0 && at < codes.length; at += direction) {
      const list = this.groups.get(codes[at])?.list;
      const next = direction > 0 ? list?.firstElementChild : list?.lastElementChild;
      if (next) return /** @type {HTMLElement} */ (next);
    }
    return null;
  }

  /**
   * @param {HTMLElement} from
   * @param {string} key
   * @returns {HTMLElement | null}
   */
  #moved(from, key) {
    if (key === "Home") return this.#end(1);
    if (key === "End") return this.#end(-1);
    if (key === "ArrowRight") return this.#beside(from, 1) ?? from;
    if (key === "ArrowLeft") return this.#beside(from, -1) ?? from;
    return this.#rowMove(from, key === "ArrowDown" ? 1 : -1);
  }

  /**
   * The nearest tile of the next row.
   * @param {HTMLElement} from
   * @param {1 | -1} step
   */
  #rowMove(from, step) {
    const start = from.getBoundingClientRect();
    let best = from;
    let row = null;
    let least = Infinity;
    for (let tile = this.#beside(from, step); tile; tile = this.#beside(tile, step)) {
      const box = tile.getBoundingClientRect();
      if (Math.abs(box.top - start.top) < 4) continue;
      row ??= box.top;
      if (Math.abs(box.top - row) > 4) break;
      const far = Math.abs(box.left - start.left);
      if (far < least) [best, least] = [tile, far];
    }
    return best;
  }
}
