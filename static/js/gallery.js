// The gallery: pictures of all cells, grouped by type; selection by mouse, rubber band and keys, dragging between types.
// It knows the desk's cells and selection; it does not know fields or reports.

import { make } from "./desk.js";
import { Pictures } from "./pictures.js";

const SEEN_AFTER_MS = 600; // a page may be confirmed only after it stood before the reader for a moment
const STOOD_MS = 150; // a cell among several is decided only after its picture was on the screen for so long
const SEEN_PART = 0.6; // of a picture, below the heading of its type
const LETTERS = [..."asdfghjklqwertyuiopzxcvbnm1234567890"];

const SORTS = {
  attention: (a, b, rank) => (rank.get(a.id) ?? 1e9) - (rank.get(b.id) ?? 1e9) || scoreOf(a) - scoreOf(b),
  score: (a, b) => scoreOf(b) - scoreOf(a),
  doubt: (a, b) => scoreOf(a) - scoreOf(b),
  changed: (a, b) => disagrees(b) - disagrees(a) || scoreOf(a) - scoreOf(b),
  size: (a, b) => sizeOf(b) - sizeOf(a),
  slide: (a, b) => a.image - b.image || a.box[1] - b.box[1] || a.box[0] - b.box[0],
};

const scoreOf = (cell) => cell.score ?? 1;
const disagrees = (cell) => Number(cell.decided && cell.said !== cell.code);
const sizeOf = (cell) => (cell.box[2] - cell.box[0]) * (cell.box[3] - cell.box[1]);

export class Gallery extends EventTarget {
  constructor(root, desk, types, { canChange = true } = {}) {
    super();
    Object.assign(this, { root, desk, types, canChange });
    this.sort = "attention";
    this.isOnlyOpen = false;
    this.image = null;
    this.tiles = new Map();
    this.groups = new Map();
    this.anchor = null;
    this.hints = null;
    this.seenSince = new Map();
    this.loadedAt = new Map();
    this.pictures = new Pictures(root);
    this.watcher = new IntersectionObserver((entries) => this.#watch(entries), { root, threshold: [0, SEEN_PART], rootMargin: "-36px 0px 0px" });
    for (const type of types.values()) root.append(this.#group(type));
    desk.addEventListener("loaded", () => this.fill());
    desk.addEventListener("changed", (event) => this.#update(event.detail.ids));
    desk.addEventListener("selected", () => this.#showSelection());
    root.addEventListener("click", (event) => this.#click(event));
    root.addEventListener("pointerdown", (event) => this.#startBand(event));
    root.addEventListener("dragstart", (event) => this.#startDrag(event));
    root.addEventListener("focusin", (event) => {
      const tile = event.target.closest?.(".tile");
      if (tile?.matches(":focus-visible") && !this.desk.selected.has(Number(tile.dataset.id))) this.#pick(Number(tile.dataset.id), event);
    });
    if (canChange) for (const group of this.groups.values()) this.acceptDrops(group.section, group.code);
  }

  // Lay all tiles out anew: on loading, sorting and filtering only.
  fill() {
    this.#showEvidence();
    const rank = new Map((this.desk.summary?.order ?? []).map((id, index) => [id, index]));
    const cells = [...this.desk.cells.values()].filter((cell) => this.#isShown(cell));
    cells.sort((a, b) => SORTS[this.sort](a, b, rank) || a.id - b.id);
    const lists = new Map();
    for (const cell of cells) {
      if (!lists.has(cell.code)) lists.set(cell.code, []);
      lists.get(cell.code).push(this.#tile(cell));
    }
    for (const [code, group] of this.groups) group.list.replaceChildren(...(lists.get(code) ?? []));
    this.#countAll();
    this.#showSelection({ isQuiet: true });
  }

  // The tiles in the order in which they stand.
  order() {
    return [...this.root.querySelectorAll(".tile")].map((tile) => Number(tile.dataset.id));
  }

  // The page of cells of one type that stood before the reader and may be confirmed together (S10).
  seenPage() {
    const now = performance.now();
    for (const group of this.groups.values()) {
      const ids = [];
      let isEarly = false;
      for (const tile of group.list.children) {
        const id = Number(tile.dataset.id);
        if (!this.seenSince.has(id) || !this.#mayPass(tile)) continue;
        if (ids.length >= this.desk.get(id).together) break;
        ids.push(id);
        if (!tile.firstElementChild.naturalWidth || now - this.seenSince.get(id) < SEEN_AFTER_MS) isEarly = true;
      }
      if (ids.length) return { code: group.code, ids, isEarly };
    }
    return null;
  }

  // Whether the picture of a cell has been loaded long enough to have been seen.
  hasShown(id) {
    return performance.now() - (this.loadedAt.get(id) ?? Infinity) >= STOOD_MS;
  }

  // The cell beside another one in the gallery, as long as it is of the same group.
  neighbour(id) {
    const tile = this.tiles.get(id);
    const next = tile?.nextElementSibling ?? tile?.previousElementSibling;
    return next ? Number(next.dataset.id) : null;
  }

  // Bring the next cells that may be confirmed as a page into view; false when there are none.
  showNextPage() {
    for (const group of this.groups.values()) {
      for (const tile of group.list.children) {
        if (this.#mayPass(tile)) {
          const isFirst = !tile.previousElementSibling;
          (isFirst ? group.section : tile).scrollIntoView({ block: "start" });
          return true;
        }
      }
    }
    return false;
  }

  showGroup(code) {
    this.groups.get(code)?.section.scrollIntoView({ block: "start" });
  }

  // A letter on every tile in view, so that any of them is two keys away; typing the letter chooses the tile.
  // Where letters run short the last ones open pairs, and what is decided already gets the pairs.
  showHints() {
    const inView = [...this.root.querySelectorAll(".tile")].filter((tile) => this.seenSince.has(Number(tile.dataset.id)));
    const isDecided = (tile) => tile.classList.contains("is-decided");
    const tiles = [...inView.filter((tile) => !isDecided(tile)), ...inView.filter(isDecided)];
    const openers = Math.max(0, Math.ceil((tiles.length - LETTERS.length) / (LETTERS.length - 1)));
    const singles = LETTERS.slice(0, LETTERS.length - openers);
    const pairs = LETTERS.slice(singles.length).flatMap((first) => LETTERS.map((second) => first + second));
    this.hints = new Map();
    for (const text of [...singles, ...pairs]) {
      const tile = tiles[this.hints.size];
      if (!tile) break;
      this.hints.set(text, tile);
      tile.append(make("kbd", { className: "tile-hint" }, text.toUpperCase()));
    }
    this.typed = "";
  }

  hideHints() {
    this.hints = null;
    for (const hint of this.root.querySelectorAll(".tile-hint")) hint.remove();
  }

  // One key while the letters are shown; they vanish when a tile is chosen or none can be any more.
  typeHint(key) {
    this.typed += key.toLowerCase();
    const tile = this.hints.get(this.typed);
    if (!tile && [...this.hints.keys()].some((text) => text.startsWith(this.typed))) return;
    this.hideHints();
    if (!tile) return;
    this.anchor = Number(tile.dataset.id);
    this.desk.select([this.anchor]);
    this.focus(this.anchor);
  }

  // Arrow keys; `isMore` keeps what is selected and adds.
  move(key, isMore) {
    const tiles = [...this.root.querySelectorAll(".tile")];
    if (!tiles.length) return;
    const from = this.tiles.get(this.desk.current);
    let index = from ? tiles.indexOf(from) : -1;
    if (index < 0) index = 0;
    else if (key === "ArrowRight") index += 1;
    else if (key === "ArrowLeft") index -= 1;
    else if (key === "Home") index = 0;
    else if (key === "End") index = tiles.length - 1;
    else index = this.#rowMove(tiles, index, key === "ArrowDown" ? 1 : -1);
    index = Math.min(Math.max(index, 0), tiles.length - 1);
    const id = Number(tiles[index].dataset.id);
    if (isMore) this.desk.select([...this.desk.selected, id], id);
    else {
      this.anchor = id;
      this.desk.select([id]);
    }
    this.focus(id);
  }

  nextGroup(step) {
    const groups = [...this.groups.values()].filter((group) => group.list.children.length);
    const code = this.desk.get(this.desk.current)?.code;
    const index = groups.findIndex((group) => group.code === code);
    const next = groups[(index + step + groups.length) % groups.length];
    if (!next) return;
    const id = Number(next.list.children[0].dataset.id);
    this.desk.select([id]);
    next.section.scrollIntoView({ block: "start" });
    this.focus(id);
  }

  focus(id) {
    const tile = this.tiles.get(id);
    if (!tile?.isConnected) return;
    tile.focus({ preventScroll: true });
    tile.scrollIntoView({ block: "nearest" });
  }

  acceptDrops(element, code) {
    element.addEventListener("dragover", (event) => {
      if (!event.dataTransfer.types.includes("application/x-cells")) return;
      event.preventDefault();
      element.classList.add("is-target");
    });
    element.addEventListener("dragleave", (event) => {
      if (!element.contains(event.relatedTarget)) element.classList.remove("is-target");
    });
    element.addEventListener("drop", (event) => {
      event.preventDefault();
      element.classList.remove("is-target");
      const ids = JSON.parse(event.dataTransfer.getData("application/x-cells"));
      this.#say("dropped", { ids, code });
    });
  }

  #group(type) {
    const swatch = make("span", { className: "swatch", "aria-hidden": "true" });
    swatch.style.backgroundColor = type.color;
    const count = make("span", { className: "group-count" });
    const open = make("span", { className: "group-open" });
    const head = make(
      "header",
      { className: "group-head" },
      swatch,
      make("h2", { className: "group-name" }, type.label),
      count,
    );
    const evidence = make("span", {});
    head.append(evidence, open);
    const list = make("div", { className: "tiles", role: "listbox", "aria-label": type.label });
    list.setAttribute("aria-multiselectable", "true");
    const section = make("section", { className: "group", dataset: { code: type.code } }, head, list);
    section.style.setProperty("--type", type.color);
    this.groups.set(type.code, { code: type.code, section, list, count, open, evidence });
    return section;
  }

  #showEvidence() {
    for (const group of this.groups.values()) {
      const level = this.desk.evidence[group.code]?.level;
      const isWeak = level === "weak" || level === "none";
      group.evidence.className = isWeak ? `evidence evidence-${level}` : "";
      group.evidence.textContent = isWeak ? `${level} evidence` : "";
    }
  }

  #tile(cell) {
    let tile = this.tiles.get(cell.id);
    if (!tile) {
      const picture = make("img", { decoding: "async", alt: "", draggable: false, dataset: { src: this.desk.crop(cell.id) } });
      picture.addEventListener("load", () => {
        this.loadedAt.set(cell.id, performance.now());
        this.#countSoon();
      });
      picture.addEventListener("error", () => picture.parentElement.classList.add("no-picture"));
      this.pictures.watch(picture);
      tile = make(
        "div",
        { className: "tile", role: "option", tabIndex: -1, draggable: this.canChange, dataset: { id: cell.id } },
        picture,
        make("span", { className: "tile-score" }),
        make("span", { className: "tile-mark", "aria-hidden": "true" }),
      );
      this.tiles.set(cell.id, tile);
      this.watcher.observe(tile);
    }
    this.#describe(tile, cell);
    return tile;
  }

  #describe(tile, cell) {
    tile.classList.toggle("needs-look", cell.look.length > 0);
    tile.classList.toggle("is-decided", cell.decided);
    tile.classList.toggle("is-changed", cell.decided && cell.said !== cell.code);
    tile.children[1].textContent = cell.added ? "added" : cell.score === null ? "" : cell.score.toFixed(2).replace(/^0/, "");
    tile.children[2].textContent = cell.decided ? (cell.said === cell.code ? "✓" : `✓ ${this.types.get(cell.said)?.short ?? "+"}→`) : cell.look.length ? "!" : "";
    tile.setAttribute("aria-label", describe(cell, this.types));
    tile.title = describe(cell, this.types);
    tile.setAttribute("aria-selected", String(this.desk.selected.has(cell.id)));
  }

  #isShown(cell) {
    return !(this.isOnlyOpen && cell.decided) && (this.image === null || cell.image === this.image);
  }

  // A cell whose picture could not be loaded was not seen: it is confirmed alone.
  #mayPass(tile) {
    const cell = this.desk.get(Number(tile.dataset.id));
    if (tile.classList.contains("no-picture")) return false;
    return !cell.decided && cell.together > 1;
  }

  // Only the changed tiles move; the others stay where the reader saw them.
  #update(ids) {
    for (const id of ids) {
      const cell = this.desk.get(id);
      const tile = this.#tile(cell);
      const list = this.groups.get(cell.code).list;
      if (!this.#isShown(cell)) {
        if (cell.code !== tile.closest(".group")?.dataset.code) tile.remove();
      } else if (tile.parentElement !== list) list.prepend(tile);
    }
    this.#countAll();
  }

  #countAll() {
    for (const group of this.groups.values()) {
      const all = group.list.children.length;
      let open = 0;
      for (const tile of group.list.children) if (!this.desk.get(Number(tile.dataset.id)).decided) open += 1;
      group.section.hidden = all === 0;
      group.count.textContent = all;
      group.open.textContent = open ? `${open} to review` : "all reviewed";
      group.open.classList.toggle("is-done", open === 0);
    }
    this.#say("counted");
  }

  #showSelection({ isQuiet = false } = {}) {
    for (const tile of this.root.querySelectorAll('.tile[aria-selected="true"]')) {
      if (!this.desk.selected.has(Number(tile.dataset.id))) tile.setAttribute("aria-selected", "false");
    }
    for (const tile of this.root.querySelectorAll('.tile[tabindex="0"]')) tile.tabIndex = -1;
    for (const id of this.desk.selected) this.tiles.get(id)?.setAttribute("aria-selected", "true");
    const current = this.tiles.get(this.desk.current) ?? this.root.querySelector(".tile");
    if (current) current.tabIndex = 0;
    if (!isQuiet) this.tiles.get(this.desk.current)?.scrollIntoView({ block: "nearest" });
  }

  #click(event) {
    const tile = event.target.closest(".tile");
    if (tile) this.#pick(Number(tile.dataset.id), event);
  }

  #pick(id, event) {
    if (event.shiftKey && this.anchor !== null) {
      const order = this.order();
      const [a, b] = [order.indexOf(this.anchor), order.indexOf(id)].sort((x, y) => x - y);
      this.desk.select(order.slice(Math.max(a, 0), b + 1), id);
    } else if (event.ctrlKey || event.metaKey) {
      const ids = new Set(this.desk.selected);
      if (ids.has(id) && ids.size > 1) ids.delete(id);
      else ids.add(id);
      this.anchor = id;
      this.desk.select([...ids], ids.has(id) ? id : [...ids].at(-1));
    } else {
      this.anchor = id;
      this.desk.select([id]);
    }
  }

  #startDrag(event) {
    const tile = event.target.closest(".tile");
    if (!tile) return;
    const id = Number(tile.dataset.id);
    if (!this.desk.selected.has(id)) this.desk.select([id]);
    const ids = [...this.desk.selected];
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setData("application/x-cells", JSON.stringify(ids));
    const ghost = make("div", { className: "drag-ghost" }, ids.length === 1 ? "1 cell" : `${ids.length} cells`);
    document.body.append(ghost);
    event.dataTransfer.setDragImage(ghost, 12, 12);
    setTimeout(() => ghost.remove());
  }

  #startBand(event) {
    if (event.button !== 0 || event.target.closest(".tile, button, select, input")) return;
    if (event.offsetX > this.root.clientWidth) return; // the scroll bar
    const start = this.#place(event);
    const band = make("div", { className: "band" });
    const kept = event.shiftKey || event.ctrlKey ? [...this.desk.selected] : [];
    let isMoving = false;
    const move = (moved) => {
      const end = this.#place(moved);
      if (!isMoving && Math.hypot(end.x - start.x, end.y - start.y) < 5) return;
      if (!isMoving) {
        isMoving = true;
        this.root.append(band);
        this.root.setPointerCapture(event.pointerId);
      }
      moved.preventDefault();
      const [x, y] = [Math.min(start.x, end.x), Math.min(start.y, end.y)];
      const [w, h] = [Math.abs(end.x - start.x), Math.abs(end.y - start.y)];
      Object.assign(band.style, { left: `${x}px`, top: `${y}px`, width: `${w}px`, height: `${h}px` });
    };
    const up = () => {
      this.root.removeEventListener("pointermove", move);
      if (!isMoving) return;
      const frame = band.getBoundingClientRect();
      band.remove();
      const ids = [...this.root.querySelectorAll(".tile")]
        .filter((tile) => {
          const box = tile.getBoundingClientRect();
          return box.left < frame.right && box.right > frame.left && box.top < frame.bottom && box.bottom > frame.top;
        })
        .map((tile) => Number(tile.dataset.id));
      this.desk.select([...new Set([...kept, ...ids])]);
    };
    this.root.addEventListener("pointermove", move);
    this.root.addEventListener("pointerup", up, { once: true });
  }

  #place(event) {
    const frame = this.root.getBoundingClientRect();
    return { x: event.clientX - frame.left + this.root.scrollLeft, y: event.clientY - frame.top + this.root.scrollTop };
  }

  #rowMove(tiles, index, step) {
    const from = tiles[index].getBoundingClientRect();
    let best = index;
    let row = null;
    let least = Infinity;
    for (let i = index + step; i >= 0 && i < tiles.length; i += step) {
      const box = tiles[i].getBoundingClientRect();
      if (Math.abs(box.top - from.top) < 4) continue;
      if (row === null) row = box.top;
      if (Math.abs(box.top - row) > 4) break;
      const far = Math.abs(box.left - from.left);
      if (far < least) [best, least] = [i, far];
    }
    return best;
  }

  #watch(entries) {
    const now = performance.now();
    for (const entry of entries) {
      const id = Number(entry.target.dataset.id);
      if (entry.intersectionRatio >= SEEN_PART) this.seenSince.set(id, this.seenSince.get(id) ?? now);
      else this.seenSince.delete(id);
    }
    this.#countSoon();
  }

  // While the reader scrolls and pictures arrive nothing is counted; then once, and once more when the page is ripe.
  #countSoon() {
    clearTimeout(this.soon);
    clearTimeout(this.ripe);
    this.soon = setTimeout(() => this.#say("counted"), 120);
    this.ripe = setTimeout(() => this.#say("counted"), SEEN_AFTER_MS + 20);
  }

  #say(name, detail = {}) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

function describe(cell, types) {
  const parts = [types.get(cell.code)?.label ?? cell.code];
  if (cell.added) parts.push("added by a reader");
  else if (cell.score !== null) parts.push(`score ${cell.score.toFixed(2)}`);
  if (cell.said && cell.said !== cell.code) parts.push(`detector: ${types.get(cell.said)?.label.toLowerCase()}`);
  parts.push(cell.decided ? (cell.by ? `reviewed by ${cell.by}` : "reviewed") : "not reviewed");
  if (cell.look.length) parts.push(`needs review: ${cell.look.join(", ")}`);
  return parts.join(", ");
}
