// Boxes that a reader places on the field, and the picture of a finding that is drawn there.
// It knows the field and its keys; what the box is of is the caller's business.

import { gettext } from "./words.js";

/** @typedef {import("./keyboard.js").Action} Action */

/**
 * The keys that move a box that is being placed, with Shift its size.
 * @param {import("./field.js").Field} field
 * @returns {Record<string, Action>}
 */
export function draftKeys(field) {
  const steps = /** @type {Record<string, number[]>} */ ({ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] });
  const move = {
    repeats: true,
    run: (/** @type {KeyboardEvent} */ event) => field.moveDraft(steps[event.key][0], steps[event.key][1], event.shiftKey),
  };
  return Object.fromEntries(Object.keys(steps).flatMap((key) => [[key, move], [`Shift+${key}`, move]]));
}

/** The findings step aside while a part of the image is drawn, and come back with it as a picture. */
export class DrawnPicture {
  /**
   * @param {import("./field.js").Field} field
   * @param {import("./findings.js").Findings} findings
   * @param {HTMLElement} hint shown meanwhile
   * @param {() => void} showField
   */
  constructor(field, findings, hint, showField) {
    this.field = field;
    this.findings = findings;
    this.hint = hint;
    this.showField = showField;
    this.isWanted = false;
    /** @type {import("./types.js").Box | null} where the frame begins: a click that draws nothing takes nothing */
    this.first = null;
    /** @type {Record<string, Action>} */
    this.keys = { ...draftKeys(field), Enter: { run: () => this.end(true) }, Escape: { run: () => this.end(false) } };
    field.addEventListener("drawn", () => this.isOn && field.draft !== this.first && this.end(true));
  }

  get isOn() {
    return this.isWanted && this.field.isDrawing;
  }

  start() {
    if (!this.field.image) return void this.findings.tell(gettext("Choose an image first."));
    if (!this.findings.canTakePicture()) return;
    this.findings.close();
    this.showField();
    this.isWanted = true;
    this.hint.hidden = false;
    this.field.startDraft();
    this.first = this.field.draft;
  }

  /** @param {boolean} isTaken */
  end(isTaken) {
    const box = this.field.endDraft();
    this.isWanted = false;
    this.hint.hidden = true;
    const { image } = this.field;
    const within = (/** @type {number} */ value, /** @type {number} */ most) => Math.round(Math.min(Math.max(value, 0), most));
    void this.findings.open();
    if (!isTaken || !box || !image) return;
    this.findings.takePicture([image.id, within(box[0], image.width), within(box[1], image.height), within(box[2], image.width), within(box[3], image.height)]);
  }
}
