// The field view: one image of a smear in OpenSeadragon with the boxes of its cells on a canvas above it.
// It knows boxes, types and colours; it does not know decisions.

import { drawBox, drawDraft, drawElement, drawNucleus, drawRuler, drawScaleBar } from "./boxes.js";
import { drawMap } from "./blockmap.js";
import { cellAt, lengthUm, uncovered } from "./places.js";
import { afterPaint } from "./page.js";
import { decimal, gettext, interpolate } from "./words.js";

/** @typedef {import("./types.js").Box} Box */
/** @typedef {import("./types.js").Cell} Cell */
/** @typedef {import("./types.js").SlideImage} SlideImage */

// It warns of every tile that arrives after another image was opened, which is what happens here all the time.
OpenSeadragon.console = { ...OpenSeadragon.console, error: (/** @type {unknown[]} */ ...words) => console.error(...words), warn: () => {} };

export class Field extends EventTarget {
  /**
   * @param {HTMLElement} element
   * @param {import("./types.js").Types} types
   */
  constructor(element, types) {
    super();
    this.types = types;
    /** @type {SlideImage | null} */
    this.image = null;
    /** @type {Map<number, Cell>} */
    this.cells = new Map();
    /** @type {Set<number>} */
    this.selected = new Set();
    /** @type {Set<string>} codes whose boxes are not drawn */
    this.hidden = new Set();
    /** @type {Map<number, Record<string, number[][]>>} image to boxes of red cells and platelets, by code */
    this.elements = new Map();
    /** @type {Set<string>} which of them are drawn */
    this.elementCodes = new Set();
    /** @type {Box[]} */
    this.nuclei = [];
    this.nucleus = -1;
    /** @type {Cell | null} */
    this.hovered = null;
    /** @type {Box | null} a box that is being placed */
    this.draft = null;
    this.isDrawing = false;
    this.isMeasuring = false;
    /** @type {Box | null} a measured line, from its first point to its last */
    this.ruler = null;
    this.isBare = false;
    this.isMapShown = false; // of a whole slide
    /** @type {Box[]} what a reader wants to have read of a whole slide */
    this.regions = [];
    this.frame = 0;
    this.isBehind = false; // what it shows is older than the cells, until the next picture of the screen
    /** @type {(() => void) | null} */
    this.afterOpen = null;
    this.viewer = OpenSeadragon({
      element,
      drawer: "canvas",
      showNavigationControl: false,
      showNavigator: true,
      navigatorPosition: "BOTTOM_RIGHT",
      navigatorSizeRatio: 0.16,
      animationTime: 0.35,
      springStiffness: 9,
      minZoomImageRatio: 0.9,
      maxZoomPixelRatio: 5,
      visibilityRatio: 0.6,
      imageLoaderLimit: 2,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
    });
    this.canvas = document.createElement("canvas");
    this.canvas.className = "field-boxes";
    this.canvas.setAttribute("aria-hidden", "true");
    this.tip = document.createElement("div");
    this.tip.className = "field-tip";
    this.tip.hidden = true;
    this.viewer.container.append(this.canvas, this.tip);
    this.viewer.addHandler("canvas-key", (/** @type {any} */ event) => {
      event.preventDefaultAction = true; // the page has keys of its own
    });
    this.viewer.addHandler("update-viewport", () => this.#paint());
    this.viewer.addHandler("resize", () => this.draw());
    this.viewer.addHandler("open", () => this.#afterOpen());
    this.viewer.addHandler("canvas-click", (/** @type {any} */ event) => {
      if (!event.quick || this.isDrawing || this.isMeasuring) return;
      const cell = this.#at(event.position);
      if (cell) {
        event.preventDefaultAction = true;
        this.#say("pick", { id: cell.id, isMore: event.originalEvent.shiftKey || event.originalEvent.ctrlKey });
      }
    });
    const host = this.viewer.container;
    host.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => this.#hover(event));
    host.addEventListener("pointerleave", () => this.#hover(null));
    this.canvas.addEventListener("pointerdown", (event) => this.#startLine(event));
    this.viewer.canvas.setAttribute("role", "application");
    this.viewer.canvas.setAttribute("aria-label", gettext("Field of the smear; the cells are listed in the gallery"));
  }

  /**
   * Show an image; `then` runs when it is open.
   * @param {SlideImage} image
   * @param {() => Cell[]} cellsOf gives the cells of an image that is not shown yet
   * @param {(() => void) | null} then
   */
  show(image, cellsOf, then = null) {
    if (this.image?.id === image.id) {
      then?.();
      this.draw();
      return;
    }
    this.image = image;
    this.#take(cellsOf());
    this.nucleus = -1;
    this.ruler = null;
    this.afterOpen = then;
    const top = Math.ceil(Math.log2(Math.max(image.width, image.height)));
    this.viewer.open({
      width: image.width,
      height: image.height,
      tileSize: 512,
      tileOverlap: 0,
      minLevel: Math.min(Math.max(top - 5, 0), 10),
      maxLevel: top,
      getTileUrl: (/** @type {number} */ level, /** @type {number} */ x, /** @type {number} */ y) => `${image.tiles}${level}/${x}_${y}.jpg`,
    });
    this.#releaseMouse();
  }

  /**
   * Take the shown image and its cells anew, as the server has sent them again.
   * @param {SlideImage} image
   * @param {Cell[]} cells
   */
  reload(image, cells) {
    this.image = image;
    this.#take(cells);
    this.draw();
  }

  /**
   * Show changed or added cells of the image.
   * @param {Cell[]} cells
   */
  update(cells) {
    for (const cell of cells) this.cells.set(cell.id, cell);
    if (this.image && cells.some((cell) => cell.added)) this.nuclei = uncovered(this.image, [...this.cells.values()]);
    this.#drawNext();
  }

  /**
   * Show the image without boxes and marks.
   * @param {boolean} isBare
   */
  bare(isBare) {
    this.isBare = isBare;
    this.draw();
  }

  /** @param {boolean} isShown */
  showMap(isShown) {
    this.isMapShown = isShown;
    this.draw();
  }

  /** @param {Box[]} regions */
  showRegions(regions) {
    this.regions = regions;
    this.draw();
  }

  /** @param {Set<number>} ids */
  select(ids) {
    this.selected = ids;
    this.#drawNext();
  }

  /** @param {Set<string>} codes */
  hide(codes) {
    this.hidden = codes;
    this.draw();
  }

  /**
   * Bring a box to the middle.
   * @param {Box} box
   */
  centre(box, { isNear = false, isImmediate = false } = {}) {
    if (!this.viewer.isOpen()) return;
    const [x1, y1, x2, y2] = box;
    const side = (isNear ? 5 : 9) * Math.max(x2 - x1, y2 - y1, 12);
    const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
    const view = this.viewer.viewport;
    view.fitBounds(view.imageToViewportRectangle(x - side / 2, y - side / 2, side, side), isImmediate);
  }

  /**
   * Move only as far as is needed to see a box.
   * @param {Box} box
   */
  reveal(box) {
    if (!this.viewer.isOpen()) return;
    const view = this.viewer.viewport;
    const seen = view.viewportToImageRectangle(view.getBounds());
    const isOut =
      box[0] < seen.x || box[1] < seen.y || box[2] > seen.x + seen.width || box[3] > seen.y + seen.height;
    if (isOut) view.panTo(view.imageToViewportCoordinates((box[0] + box[2]) / 2, (box[1] + box[3]) / 2));
  }

  whole() {
    if (this.viewer.isOpen()) this.viewer.viewport.goHome();
  }

  /** @param {number} factor */
  zoom(factor) {
    if (this.viewer.isOpen()) this.viewer.viewport.zoomBy(factor).applyConstraints();
  }

  /** @param {number} index */
  showNucleus(index) {
    this.nucleus = index;
    if (index >= 0) this.centre(this.nuclei[index], { isNear: true });
    this.draw();
  }

  /**
   * Begin a box to place: drawn with the mouse, or moved by arrow keys from the middle of what is seen.
   * @param {Box | null} box
   * @param {boolean} isEmpty nothing is there until the mouse draws it
   */
  startDraft(box = null, isEmpty = false) {
    this.isDrawing = true; // from now on a type's key means the new cell, also while the image still opens
    this.isMeasuring = false;
    this.ruler = null;
    this.draft = box && [...box];
    this.#releaseMouse();
    if (isEmpty) return;
    if (this.viewer.isOpen()) this.#placeDraft();
    else this.viewer.addOnceHandler("open", () => this.isDrawing && this.#placeDraft());
  }

  /**
   * @param {number} dx
   * @param {number} dy
   * @param {boolean} isSize whether its size changes, not its place
   */
  moveDraft(dx, dy, isSize) {
    if (!this.draft) return;
    const step = 6 / this.#transform().scale;
    const [x1, y1, x2, y2] = this.draft;
    const [w, h] = [dx * step, dy * step];
    this.draft = isSize
      ? [x1 - w / 2, y1 - h / 2, Math.max(x2 + w / 2, x1 + 8), Math.max(y2 + h / 2, y1 + 8)]
      : [x1 + w, y1 + h, x2 + w, y2 + h];
    this.draw();
  }

  endDraft() {
    const box = this.draft;
    this.draft = null;
    this.isDrawing = false;
    this.#releaseMouse();
    return box;
  }

  /** The scale of the image, where it is known. */
  get umPerPx() {
    return this.image && !this.image.is_scale_assumed ? this.image.um_per_px : null;
  }

  /**
   * Let the mouse measure lengths instead of moving the image; switched off, the last one vanishes.
   * @param {boolean} isMeasuring
   */
  measure(isMeasuring) {
    this.isMeasuring = isMeasuring;
    if (!isMeasuring) this.ruler = null;
    this.#releaseMouse();
  }

  #releaseMouse() {
    // While the image still opens nothing can be drawn on it.
    const isTaken = (this.isDrawing || this.isMeasuring) && this.viewer.isOpen() && this.viewer.world.getItemCount() > 0;
    this.canvas.classList.toggle("is-drawing", isTaken);
    this.viewer.setMouseNavEnabled(!isTaken);
    this.draw();
  }

  /** Draw boxes and marks before the next picture of the screen: once, however much has changed. */
  draw() {
    if (!this.frame) this.frame = requestAnimationFrame(() => this.#paint());
  }

  /** Draw after the next picture of the screen: a decision is seen in the gallery and the counts first. */
  #drawNext() {
    if (!this.isBehind) afterPaint(() => this.#paint());
    this.isBehind = true;
  }

  #paint() {
    this.isBehind = false;
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    const { pen, width, height } = this.#cleared();
    if (!width || !this.image || !this.viewer.isOpen() || !this.viewer.world.getItemCount()) return;
    const { scale, left, top } = this.#transform();
    const place = (/** @type {Box} */ [x1, y1, x2, y2]) => ({ x: x1 * scale + left, y: y1 * scale + top, w: (x2 - x1) * scale, h: (y2 - y1) * scale });
    if (!this.isBare) {
      if (this.isMapShown && this.image.coverage) drawMap(pen, this.image.coverage, place, { width, height });
      for (const region of this.regions) drawDraft(pen, place(region));
      for (const code of this.elementCodes)
        for (const box of this.elements.get(this.image.id)?.[code] ?? []) {
          const at = place(/** @type {Box} */ (box.slice(0, 4)));
          if (at.x < width && at.y < height && at.x + at.w > 0 && at.y + at.h > 0) drawElement(pen, code, at);
        }
      const above = [];
      for (const cell of this.cells.values()) {
        if (this.hidden.has(cell.code)) continue;
        const at = place(cell.box);
        if (at.x > width || at.y > height || at.x + at.w < 0 || at.y + at.h < 0) continue;
        if (this.selected.has(cell.id) || cell === this.hovered) above.push(cell);
        else drawBox(pen, cell, this.types.get(cell.code), at, false);
      }
      for (const cell of above) drawBox(pen, cell, this.types.get(cell.code), place(cell.box), true);
      if (this.nucleus >= 0) this.nuclei.forEach((box, index) => drawNucleus(pen, place(box), index === this.nucleus));
      if (this.draft) drawDraft(pen, place(this.draft));
    }
    const { umPerPx } = this;
    if (this.ruler && umPerPx) drawRuler(pen, place(this.ruler), `${decimal(lengthUm(this.ruler, umPerPx), 1)} µm`);
    drawScaleBar(pen, umPerPx ? scale / umPerPx : null, height);
  }

  #cleared() {
    const host = this.viewer.container;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [host.clientWidth, host.clientHeight];
    const pen = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    return { pen, width, height };
  }

  /** @param {Cell[]} cells */
  #take(cells) {
    this.cells = new Map(cells.map((cell) => [cell.id, cell]));
    this.hovered = null;
    this.nuclei = this.image ? uncovered(this.image, cells) : [];
  }

  #placeDraft() {
    const view = this.viewer.viewport;
    const seen = view.viewportToImageRectangle(view.getBounds());
    const side = this.#sideOfACell(seen);
    const [x, y] = [seen.x + seen.width / 2, seen.y + seen.height / 2];
    this.draft ??= [x - side / 2, y - side / 2, x + side / 2, y + side / 2];
    this.draw();
  }

  /**
   * As wide as the cells that are boxed on this image already; else an eighth of what is seen.
   * @param {{ width: number, height: number }} seen
   */
  #sideOfACell(seen) {
    const sides = [...this.cells.values()].map(({ box }) => Math.max(box[2] - box[0], box[3] - box[1])).sort((a, b) => a - b);
    return sides.length ? sides[Math.floor(sides.length / 2)] : Math.min(seen.width, seen.height) / 8;
  }

  #transform() {
    const item = this.viewer.world.getItemAt(0);
    const origin = item.imageToViewerElementCoordinates(new OpenSeadragon.Point(0, 0));
    const far = item.imageToViewerElementCoordinates(new OpenSeadragon.Point(1000, 0));
    return { scale: (far.x - origin.x) / 1000, left: origin.x, top: origin.y };
  }

  /** @param {PointerEvent} event */
  #toImage(event) {
    const frame = this.viewer.container.getBoundingClientRect();
    const { scale, left, top } = this.#transform();
    return [(event.clientX - frame.left - left) / scale, (event.clientY - frame.top - top) / scale];
  }

  /** @param {{ x: number, y: number }} position */
  #at(position) {
    const { scale, left, top } = this.#transform();
    const shown = [...this.cells.values()].filter((cell) => !this.hidden.has(cell.code));
    return cellAt(shown, (position.x - left) / scale, (position.y - top) / scale, 3 / scale);
  }

  /** @param {PointerEvent | null} event */
  #hover(event) {
    if (!event || this.isDrawing || this.isMeasuring || !this.viewer.isOpen() || !this.viewer.world.getItemCount()) {
      this.tip.hidden = true;
      if (this.hovered) {
        this.hovered = null;
        this.draw();
      }
      return;
    }
    const frame = this.viewer.container.getBoundingClientRect();
    const position = { x: event.clientX - frame.left, y: event.clientY - frame.top };
    const cell = this.#at(position);
    if (cell !== this.hovered) {
      this.hovered = cell;
      this.draw();
    }
    this.tip.hidden = !cell;
    this.viewer.canvas.classList.toggle("is-on-cell", Boolean(cell));
    if (!cell) return;
    const name = this.types.get(cell.code).label;
    const score = cell.score === null ? gettext("added by a reader") : interpolate(gettext("score %(score)s"), { score: decimal(cell.score, 2) });
    this.tip.textContent = `${name} · ${score}${cell.look.length ? ` · ${cell.look.join(", ")}` : ""}`;
    this.tip.style.left = `${Math.max(Math.min(position.x + 14, frame.width - this.tip.offsetWidth - 4), 0)}px`;
    this.tip.style.top = `${Math.min(position.y + 16, frame.height - 30)}px`;
  }

  /** A box of a cell, or a line to measure. @param {PointerEvent} event */
  #startLine(event) {
    if (!(this.isDrawing || this.isMeasuring) || event.button !== 0) return;
    event.preventDefault();
    const [x, y] = this.#toImage(event);
    this.canvas.setPointerCapture(event.pointerId);
    const move = (/** @type {PointerEvent} */ moved) => {
      const [x2, y2] = this.#toImage(moved);
      if (this.isDrawing) this.draft = [Math.min(x, x2), Math.min(y, y2), Math.max(x, x2), Math.max(y, y2)];
      else this.ruler = [x, y, x2, y2];
      this.draw();
    };
    const up = () => {
      this.canvas.removeEventListener("pointermove", move);
      if (this.isDrawing) this.#say("drawn");
      else if (this.ruler && this.umPerPx) this.#say("measured", { um: lengthUm(this.ruler, this.umPerPx) });
    };
    this.canvas.addEventListener("pointermove", move);
    this.canvas.addEventListener("pointerup", up, { once: true });
  }

  #afterOpen() {
    this.viewer.viewport.goHome(true);
    this.afterOpen?.();
    this.afterOpen = null;
    this.#releaseMouse();
    this.#say("opened");
  }

  /**
   * @param {string} name
   * @param {object} detail
   */
  #say(name, detail = {}) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
