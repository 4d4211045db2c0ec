// Gallery, field and the chosen cell of a page, linked by one selection; the part that workbench and slide page share.
// It shows cells and possible missed cells; it decides nothing.

import { Desk } from "./desk.js";
import { Field } from "./field.js";
import { Gallery } from "./gallery.js";
import { Inspector } from "./inspector.js";
import { Lens } from "./lens.js";
import { afterPaint, byId, make } from "./page.js";
import { boxAround, uncovered } from "./places.js";
import { TypeTable } from "./typetable.js";

/** @typedef {import("./types.js").Cell} Cell */

export class Views {
  /**
   * @param {HTMLElement} root
   * @param {import("./types.js").PageOfCells} page
   * @param {boolean} canChange
   */
  constructor(root, page, canChange) {
    this.root = root;
    this.types = new TypeTable(page.types);
    this.desk = new Desk(page.urls, page.reader);
    this.gallery = new Gallery(byId("gallery"), this.desk, this.types, canChange);
    this.field = new Field(byId("field"), this.types);
    this.inspector = new Inspector(byId("inspector"), this.desk, this.types, canChange);
    this.toldTimer = 0;
    this.desk.addEventListener("loaded", () => {
      const image = this.desk.images.get(this.field.image?.id ?? -1);
      if (image) this.field.reload(image, this.desk.cellsOn(image.id));
    });
    this.desk.addEventListener("selected", () => this.#showSelected());
    this.desk.addEventListener("changed", (event) => {
      const changed = /** @type {CustomEvent} */ (event).detail.ids.map((/** @type {number} */ id) => this.desk.get(id));
      this.field.update(changed.filter((/** @type {Cell | undefined} */ cell) => cell && cell.image === this.field.image?.id));
      this.#showSelected();
    });
    this.desk.addEventListener("told", (event) => {
      const { sentence, isRefusal } = /** @type {CustomEvent} */ (event).detail;
      this.tell(sentence, isRefusal);
    });
    this.field.addEventListener("pick", (event) => {
      const { id, isMore } = /** @type {CustomEvent} */ (event).detail;
      this.desk.select(isMore ? [...this.desk.selected, id] : [id], id);
      this.gallery.focus(id);
    });
    this.part("image").addEventListener("change", () =>
      this.open(this.desk.images.get(Number(this.part("image").value)), () => this.field.whole()),
    );
    this.part("sort").addEventListener("change", () => {
      this.gallery.sort = this.part("sort").value;
      this.gallery.fill();
    });
    this.part("whole").addEventListener("click", () => this.field.whole());
  }

  /**
   * @param {string} name
   * @returns {any}
   */
  part(name) {
    return this.root.querySelector(`[data-part="${name}"]`);
  }

  /**
   * Say something at the foot of the page for a few seconds.
   * @param {string} sentence
   * @param {boolean} isRefusal
   * @param {{ name: string, run: () => void } | null} act a button beside it
   */
  tell(sentence, isRefusal = false, act = null) {
    const line = this.part("told");
    line.replaceChildren(sentence);
    if (act) {
      const button = make("button", { type: "button", className: "told-act" }, act.name);
      button.addEventListener("click", act.run);
      line.append(button);
    }
    line.classList.toggle("is-refusal", isRefusal);
    line.classList.add("is-on");
    clearTimeout(this.toldTimer);
    this.toldTimer = setTimeout(() => line.classList.remove("is-on"), isRefusal ? 9000 : 4500);
  }

  /**
   * Show an image in the field.
   * @param {any} image
   * @param {(() => void) | null} then
   */
  open(image, then = null) {
    this.part("image").value = String(image.id);
    this.field.show(image, () => this.desk.cellsOn(image.id), then);
    this.root.dispatchEvent(new CustomEvent("image-shown"));
  }

  /** @param {number | null | undefined} id */
  goTo(id) {
    if (id === null || id === undefined) return;
    this.gallery.anchor = id;
    this.desk.select([id]);
    this.gallery.focus(id);
  }

  /** Move the field to the chosen cell. */
  centre(isImmediate = false) {
    const cell = this.desk.get(this.desk.current);
    if (cell) this.field.centre(cell.box, { isImmediate });
  }

  /** How many stained nuclei of all images no box covers. */
  missed() {
    return [...this.desk.images.values()].reduce((sum, image) => sum + uncovered(image, this.desk.cellsOn(image.id)).length, 0);
  }

  /**
   * Show the next possible missed cell, on another image where this one has none; false when there is none at all.
   * @param {number} direction 1 or -1
   * @param {() => void} then
   */
  stepMissed(direction, then) {
    const { field } = this;
    if (field.image && field.nuclei.length) {
      const from = field.nucleus < 0 && direction < 0 ? 0 : field.nucleus;
      field.showNucleus((from + direction + field.nuclei.length) % field.nuclei.length);
      then();
      return true;
    }
    const image = [...this.desk.images.values()].find((each) => uncovered(each, this.desk.cellsOn(each.id)).length);
    if (!image) return false;
    this.open(image, () => this.stepMissed(1, then));
    return true;
  }

  /** The box to draw around the possible missed cell that is shown. */
  missedBox() {
    return boxAround(this.field.nuclei[this.field.nucleus]);
  }

  #showSelected() {
    const cell = this.desk.get(this.desk.current);
    this.inspector.show(cell, this.desk.selected.size);
    this.field.select(this.desk.selected);
    if (!cell) return;
    const image = /** @type {import("./types.js").SlideImage} */ (this.desk.images.get(cell.image));
    const isNew = this.field.image?.id !== image.id;
    if (isNew) this.open(image, () => this.field.centre(cell.box, { isImmediate: true }));
    else afterPaint(() => this.desk.current === cell.id && this.field.reveal(cell.box));
  }
}

/** What both pages do by key: moving and looking, which a held key may repeat. */
/**
 * @param {Views} views
 * @returns {Record<string, import("./keyboard.js").Action>}
 */
export function lookingKeys({ gallery, field, root }) {
  const lens = new Lens(gallery.root);
  /** The picture under the mouse enlarged, else all without boxes, frames and marks, as long as Space is held. @param {boolean} isBare */
  function bare(isBare) {
    if (isBare && lens.show()) return;
    lens.hide();
    root.classList.toggle("is-bare", isBare);
    field.bare(isBare);
  }
  const move = { repeats: true, run: (/** @type {KeyboardEvent} */ event) => gallery.move(event.key, event.shiftKey) };
  const arrows = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"];
  return {
    ...Object.fromEntries(arrows.flatMap((key) => [[key, move], [`Shift+${key}`, move]])),
    " ": { run: () => bare(true), release: () => bare(false) },
    "[": { run: () => gallery.nextGroup(-1) },
    "]": { run: () => gallery.nextGroup(1) },
    "+": { repeats: true, run: () => field.zoom(1.4) },
    "-": { repeats: true, run: () => field.zoom(1 / 1.4) },
  };
}
