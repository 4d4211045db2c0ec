// One cell large, with its neighbours, why a person must see it, what the detector is proven on, and reference cells.
// It knows one cell at a time, and whether its picture has been on the screen; it does not know the order of work.

import { make } from "./page.js";
import { sideAround } from "./places.js";

const STOOD_MS = 150; // a cell is decided only after its picture was on the screen for so long
const AHEAD = 3;

/** @typedef {import("./types.js").Cell} Cell */
/** @typedef {import("./types.js").CellType} CellType */
/** @typedef {import("./types.js").SlideImage} SlideImage */

export class Inspector {
  /**
   * @param {HTMLElement} root
   * @param {import("./desk.js").Desk} desk
   * @param {import("./types.js").Types} types
   */
  constructor(root, desk, types) {
    this.root = root;
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
    const names = ["place", "frame", "empty", "code", "name", "score", "said", "look", "card", "references", "refs-title"];
    for (const name of names) this.parts[name] = root.querySelector(`[data-part="${name}"]`);
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
    if (this.shown !== cell.id) this.#load(cell.id);
    const image = /** @type {SlideImage} */ (this.desk.images.get(cell.image));
    this.#frame(cell.box, image.um_per_px);
    const type = this.types.get(cell.code);
    p.code.dataset.code = cell.code;
    p.code.style.backgroundColor = type.color;
    p.name.textContent = number > 1 ? `${type.label} · ${number} cells selected` : type.label;
    p.score.textContent = this.#facts(cell, image).join(" · ");
    const said = cell.said && cell.said !== cell.code ? ` (detector: ${this.types.name(cell.said)})` : "";
    p.said.textContent = cell.decided ? `${cell.by || "You"}: ${type.label.toLowerCase()}${said}` : "Not reviewed";
    p.said.classList.toggle("is-decided", cell.decided);
    p.look.hidden = !cell.look.length;
    p.look.textContent = cell.look.length ? `Needs review: ${cell.look.join(", ")}.` : "";
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
    picture.alt = "The chosen cell with its neighbours";
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
    requestAnimationFrame(() =>
      setTimeout(() => {
        if (this.shown !== id) return;
        this.isReady = true;
        this.root.dataset.ready = String(id);
      }, STOOD_MS),
    );
  }

  #unready() {
    this.isReady = false;
    this.hasFailed = false;
    delete this.root.dataset.ready;
    this.parts.place.classList.remove("has-failed");
    this.parts.place.replaceChildren();
  }

  /**
   * The server cuts a square around the cell; without a scale its side is not known here and no frame is drawn.
   * @param {number[]} box
   * @param {number | null} umPerPx
   */
  #frame([x1, y1, x2, y2], umPerPx) {
    const { frame } = this.parts;
    frame.hidden = !umPerPx;
    if (!umPerPx) return;
    const side = sideAround([x1, y1, x2, y2], umPerPx);
    Object.assign(frame.style, {
      width: `${(100 * (x2 - x1)) / side}%`,
      height: `${(100 * (y2 - y1)) / side}%`,
      left: `${50 - (50 * (x2 - x1)) / side}%`,
      top: `${50 - (50 * (y2 - y1)) / side}%`,
    });
  }

  /**
   * @param {Cell} cell
   * @param {SlideImage} image
   */
  #facts(cell, image) {
    const [x1, y1, x2, y2] = cell.box;
    const facts = [];
    if (cell.added) facts.push("added by a reader");
    else if (cell.chances.length) facts.push(this.#chances(cell));
    else if (cell.score !== null) facts.push(`score ${cell.score.toFixed(2)}`);
    facts.push(image.um_per_px ? `${(((x2 - x1 + y2 - y1) / 2) * image.um_per_px).toFixed(1)} µm` : "scale unknown, no size");
    facts.push(`${image.slide}, ${image.name}`);
    return facts;
  }

  // What the detector holds the cell for, best first, as "myelocyte 41 %, promyelocyte 35 %, band 9 %".
  /** @param {Cell} cell */
  #chances(cell) {
    return cell.chances.map(([code, chance]) => `${this.types.get(code).label} ${Math.round(100 * chance)} %`).join(", ");
  }

  // How far the detector is proven on the type that it named itself, whatever a reader decided since.
  /** @param {Cell} cell */
  #card(cell) {
    const card = this.desk.evidence[cell.said];
    if (!card) {
      const why = cell.said ? "The detector has no figures for this type." : "Added by a reader: the detector has no opinion on this cell.";
      this.parts.card.replaceChildren(make("p", { className: "card-head" }, why));
      return;
    }
    const name = this.types.get(cell.said).label;
    const lines = [
      make(
        "p",
        { className: "card-head" },
        `Detector’s opinion: ${name.toLowerCase()} `,
        make("span", { className: `evidence evidence-${card.level}` }, `${card.level} evidence`),
        ` trained on ${card.n_train ?? 0}`,
      ),
    ];
    for (const test of card.tests) {
      const figures = figuresOf(test);
      if (figures.length) lines.push(make("p", {}, `${test.name}: ${figures.join(" · ")}`));
    }
    if (!card.tests.length) lines.push(make("p", {}, "Never tested on this type."));
    this.parts.card.replaceChildren(...lines);
  }

  /** @param {string} code */
  async #showReferences(code) {
    this.parts["refs-title"].textContent = `${this.types.get(code).label}: atlas and signed cells`;
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
        ? pictures.map((src) => make("img", { src, alt: `Reference: ${this.types.get(code).label}`, width: 52, height: 52 }))
        : [make("p", { className: "refs-none" }, "None yet.")]),
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
  if (test.right !== undefined) figures.push(`${test.right}/${test.of} right (95% ${test.low}–${test.high}%)`);
  for (const [name, share] of /** @type {[string, number[] | undefined][]} */ ([["precision", test.precision], ["recall", test.recall]])) {
    if (share) figures.push(`${name} ${share[0]}% (95% ${share[1]}–${share[2]}%)`);
  }
  if (test.ap50 !== null) figures.push(`AP ${test.ap50.toFixed(2)}, n ${test.n}`);
  return figures;
}
