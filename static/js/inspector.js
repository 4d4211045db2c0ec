// One cell large, with its neighbours, why a person must see it, what the detector is proven on, and reference cells.
// It knows one cell at a time, and whether its picture has been on the screen; it does not know the order of work.

import { make } from "./page.js";
import { sideAround, zoomOnCell } from "./places.js";
import { decimal, evidenceWords, gettext, interpolate, withinSentence } from "./words.js";

const STOOD_MS = 150; // a cell is decided only after its picture was on the screen for so long
const SEEN_PART = 0.6; // of the picture must be within the window for that
const AHEAD = 3;
const WHEEL_STEP = 1.2;
const MOST_ZOOM = 4; // times the first one

/** @typedef {import("./types.js").Cell} Cell */
/** @typedef {import("./types.js").CellType} CellType */
/** @typedef {import("./types.js").SlideImage} SlideImage */

export class Inspector {
  /**
   * @param {HTMLElement} root
   * @param {import("./desk.js").Desk} desk
   * @param {import("./types.js").Types} types
   * @param {boolean} canChange
   */
  constructor(root, desk, types, canChange) {
    this.root = root;
    this.canChange = canChange;
    this.desk = desk;
    this.types = types;
    /** @type {number | null} */
    this.shown = null;
    this.isReady = false;
    this.hasFailed = false;
    /** @type {Map<number, HTMLImageElement>} */
    this.ahead = new Map();
    /** @type {Map<string, string[] | null>} */
    this.references = new Map();
    /** @type {Record<string, any>} */
    this.parts = {};
    const names = ["picture", "place", "frame", "code", "name", "chances", "score", "said", "look", "card-head", "card", "references", "refs-title"];
    for (const name of names) this.parts[name] = root.querySelector(`[data-part="${name}"]`);
    this.zoom = 1; // 1: the whole picture
    this.parts.picture.addEventListener("wheel", (/** @type {WheelEvent} */ event) => {
      event.preventDefault();
      this.#zoomTo(this.zoom * (event.deltaY < 0 ? WHEEL_STEP : 1 / WHEEL_STEP));
    }, { passive: false });
    this.parts.picture.addEventListener("dblclick", () => this.#zoomTo(this.firstZoom));
    this.firstZoom = 1;
    this.standing = 0;
    this.isInWindow = false;
    new IntersectionObserver(([{ intersectionRatio }]) => {
      this.isInWindow = intersectionRatio >= SEEN_PART;
      this.#stand();
    }, { threshold: [0, SEEN_PART] }).observe(this.parts.picture);
    document.addEventListener("visibilitychange", () => this.#stand());
    /** The box of the shown cell and the side of its picture, in pixels of the image. @type {{ box: number[], side: number, isFramed: boolean }} */
    this.view = { box: [0, 0, 1, 1], side: 1, isFramed: false };
  }

  /**
   * @param {Cell | undefined} cell
   * @param {number} number how many cells are selected
   */
  show(cell, number) {
    const p = this.parts;
    this.root.classList.toggle("is-empty", !cell);
    if (!cell) {
      this.shown = null;
      this.#unready();
      return;
    }
    const image = /** @type {SlideImage} */ (this.desk.images.get(cell.image));
    if (this.shown !== cell.id) {
      this.#load(cell.id);
      this.#look(cell.box, image.um_per_px);
    }
    const type = this.types.get(cell.code);
    p.code.dataset.code = cell.code;
    p.code.style.backgroundColor = type.color;
    p.name.textContent = number > 1 ? interpolate(gettext("%(label)s · %(number)s cells selected"), { label: type.label, number }) : type.label;
    p.chances.replaceChildren(...this.#chances(cell));
    p.score.textContent = this.#facts(cell, image).join(" · ");
    const said = cell.said && cell.said !== cell.code ? interpolate(gettext(" (detector: %(name)s)"), { name: this.types.name(cell.said) }) : "";
    p.said.textContent = cell.decided ? `${cell.by || gettext("You")}: ${withinSentence(type.label)}${said}` : gettext("Not reviewed");
    p.said.classList.toggle("is-decided", cell.decided);
    p.look.hidden = !cell.look.length;
    p.look.textContent = cell.look.length ? interpolate(gettext("Needs review: %(reasons)s."), { reasons: cell.look.join(", ") }) : "";
    this.#card(cell);
    this.#showReferences(cell.code);
  }

  /** Whether this cell's own picture has been on the screen long enough to decide it. */
  /** @param {number} id */
  stood(id) {
    return this.shown === id && this.isReady;
  }

  /** Ask again for a picture that could not be loaded. */
  retry() {
    if (this.shown !== null && this.hasFailed) this.#load(this.shown);
  }

  /**
   * Load the pictures of the cells that come next.
   * @param {number[]} ids
   */
  prefetch(ids) {
    const wanted = ids.slice(0, AHEAD);
    for (const id of this.ahead.keys()) if (!wanted.includes(id)) this.ahead.delete(id);
    for (const id of wanted) if (!this.ahead.has(id)) this.ahead.set(id, this.#picture(id));
  }

  /** @param {number} id */
  #picture(id) {
    const picture = new Image();
    picture.alt = gettext("The chosen cell with its neighbours");
    picture.src = this.desk.around(id);
    return picture;
  }

  // The place is empty until the picture of this very cell is decoded: no name ever stands beside another cell.
  /** @param {number} id */
  async #load(id) {
    this.shown = id;
    this.#unready();
    const picture = this.ahead.get(id) ?? this.#picture(id);
    this.ahead.delete(id);
    try {
      await picture.decode();
    } catch {
      if (this.shown !== id) return;
      this.hasFailed = true;
      this.parts.place.classList.add("has-failed");
      return;
    }
    if (this.shown !== id) return;
    this.parts.place.replaceChildren(picture);
    requestAnimationFrame(() => this.#stand());
  }

  // The time counts only while the picture is within the window: on a small screen it may lie outside of it.
  #stand() {
    clearTimeout(this.standing);
    if (!this.isInWindow || !this.parts.place.firstChild || document.hidden) return;
    const id = this.shown;
    this.standing = setTimeout(() => {
      if (this.shown !== id || id === null) return;
      this.isReady = true;
      this.root.dataset.ready = String(id);
    }, STOOD_MS);
  }

  #unready() {
    clearTimeout(this.standing);
    this.isReady = false;
    this.hasFailed = false;
    delete this.root.dataset.ready;
    this.parts.place.classList.remove("has-failed");
    this.parts.place.replaceChildren();
  }

  /**
   * Each cell is first shown equally large. Without a scale no frame is drawn.
   * @param {number[]} box
   * @param {number | null} umPerPx
   */
  #look(box, umPerPx) {
    const side = sideAround(box, umPerPx);
    this.view = { box, side, isFramed: Boolean(umPerPx) };
    this.firstZoom = zoomOnCell(box, side);
    this.#zoomTo(this.firstZoom);
  }

  /** @param {number} zoom */
  #zoomTo(zoom) {
    this.zoom = Math.min(Math.max(zoom, 1), MOST_ZOOM * this.firstZoom);
    const { picture, frame } = this.parts;
    const { box: [x1, y1, x2, y2], side, isFramed } = this.view;
    picture.style.setProperty("--zoom", String(this.zoom));
    frame.hidden = !isFramed;
    const [width, height] = [(100 * this.zoom * (x2 - x1)) / side, (100 * this.zoom * (y2 - y1)) / side];
    Object.assign(frame.style, { width: `${width}%`, height: `${height}%`, left: `${50 - width / 2}%`, top: `${50 - height / 2}%` });
  }

  /**
   * @param {Cell} cell
   * @param {SlideImage} image
   */
  #facts(cell, image) {
    const [x1, y1, x2, y2] = cell.box;
    const facts = [];
    if (cell.added) facts.push(gettext("added by a reader"));
    else if (!cell.chances.length && cell.score !== null) facts.push(interpolate(gettext("score %(score)s"), { score: decimal(cell.score, 2) }));
    facts.push(image.um_per_px && !image.is_scale_assumed ? `${decimal(((x2 - x1 + y2 - y1) / 2) * image.um_per_px, 1)} µm` : gettext("scale unknown, no size"));
    facts.push(`${image.slide}, ${image.name}`);
    return facts;
  }

  // What the detector holds the cell for, best first, each a button that gives the cell this type. A digit that the
  // reader has given to a type of his own is not shown: there it means that type.
  /** @param {Cell} cell */
  #chances(cell) {
    return cell.chances.map(([code, chance], index) => {
      const type = this.types.get(code);
      const key = String(index + 1);
      const button = make("button", { type: "button", className: "cell-chance", dataset: { code }, title: interpolate(gettext("%(label)s: the detector gives it %(percent)s%"), { label: type.label, percent: Math.round(100 * chance) }) }, `${type.short} ${Math.round(100 * chance)}%`);
      button.style.setProperty("--type", type.color);
      button.disabled = !this.canChange;
      if (this.canChange && !this.types.ofKey(key)) button.append(make("kbd", {}, key));
      return button;
    });
  }

  // How far the detector is proven on the type that it named itself, whatever a reader decided since.
  /** @param {Cell} cell */
  #card(cell) {
    const card = this.desk.evidence[cell.said];
    if (!card) {
      this.parts["card-head"].textContent = cell.said ? gettext("The detector has no figures for this type.") : gettext("Added by a reader: no opinion of the detector.");
      this.parts.card.replaceChildren();
      return;
    }
    this.parts["card-head"].replaceChildren(
      interpolate(gettext("Detector: %(name)s "), { name: this.types.name(cell.said) }),
      make("span", { className: `evidence evidence-${card.level}` }, evidenceWords(card.level)),
    );
    const lines = [make("p", {}, interpolate(gettext("Trained on %(n_train)s."), { n_train: card.n_train ?? 0 }))];
    for (const test of card.tests) {
      const figures = figuresOf(test);
      if (figures.length) lines.push(make("p", {}, `${test.name}: ${figures.join(" · ")}`));
    }
    if (!card.tests.length) lines.push(make("p", {}, gettext("Never tested on this type.")));
    this.parts.card.replaceChildren(...lines);
  }

  /** @param {string} code */
  async #showReferences(code) {
    this.parts["refs-title"].textContent = interpolate(gettext("%(label)s: atlas and signed cells"), { label: this.types.get(code).label });
    if (!this.references.has(code)) {
      this.references.set(code, null);
      const answer = await fetch(this.desk.urls.references.replace("/CODE.", `/${code}.`), {
        headers: { Accept: "application/json" },
      }).catch(() => null);
      const { cells, atlas } = answer?.ok ? await answer.json() : { cells: [], atlas: [] };
      this.references.set(code, [...atlas, ...cells.map((/** @type {number} */ id) => this.desk.crop(id))]);
    }
    const pictures = this.references.get(code);
    if (!pictures || this.shown === null || this.desk.get(this.shown)?.code !== code) return;
    this.parts.references.replaceChildren(
      ...(pictures.length
        ? pictures.map((src) => make("img", { src, alt: interpolate(gettext("Reference: %(label)s"), { label: this.types.get(code).label }), width: 52, height: 52 }))
        : [make("p", { className: "refs-none" }, gettext("None yet."))]),
    );
  }
}

/**
 * What a test of the detector measured on one type, in words.
 * @param {import("./types.js").TestFigures} test
 * @returns {string[]}
 */
function figuresOf(test) {
  const figures = [];
  if (test.right !== undefined) figures.push(interpolate(gettext("%(right)s/%(of)s right (95% %(low)s–%(high)s%)"), { right: test.right, of: test.of, low: test.low, high: test.high }));
  for (const [name, share] of /** @type {[string, number[] | undefined][]} */ ([[gettext("precision"), test.precision], [gettext("recall"), test.recall]])) {
    if (share) figures.push(`${name} ${share[0]}% (95% ${share[1]}–${share[2]}%)`);
  }
  if (test.ap50 !== null) figures.push(`AP ${decimal(test.ap50, 2)}, n ${test.n}`);
  return figures;
}
