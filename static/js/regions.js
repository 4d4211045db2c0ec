// The regions of a whole slide that a reader wants to have read: drawn on the field, or written as numbers in a text field.
// It knows the form and the field; what is read is decided on the server.

import { gettext, interpolate } from "./words.js";

/** @typedef {import("./types.js").Box} Box */

/**
 * @param {HTMLElement} root
 * @param {import("./field.js").Field} field
 * @param {import("./types.js").Tell} tell
 */
export function startRegions(root, field, tell) {
  const part = (/** @type {string} */ name) => /** @type {any} */ (root.querySelector(`[data-part="${name}"]`));
  const text = /** @type {HTMLTextAreaElement | null} */ (part("regions"));
  const button = part("map");
  button?.addEventListener("click", () => {
    const isShown = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(isShown));
    field.showMap(isShown);
  });
  if (button) field.showMap(true);
  if (!text) return;
  const show = () => field.showRegions(regionsIn(text.value));
  text.addEventListener("input", show);
  part("draw-region").addEventListener("click", () => {
    if (field.isDrawing) {
      field.endDraft();
      return;
    }
    field.startDraft(null, true);
    tell(gettext("Draw the region with the mouse, from corner to corner."));
  });
  field.addEventListener("drawn", () => {
    const box = field.endDraft();
    if (!box) return;
    const numbers = box.map((edge) => Math.max(0, Math.round(edge)));
    text.value = [...text.value.split("\n").filter((line) => line.trim()), numbers.join(" ")].join("\n");
    show();
    tell(interpolate(gettext("Region added: %(numbers)s."), { numbers: numbers.join(" ") }));
  });
}

/**
 * The boxes that lines of four numbers say; other lines say none.
 * @param {string} lines
 * @returns {Box[]}
 */
export function regionsIn(lines) {
  return lines
    .split("\n")
    .map((line) => (line.match(/\d+/g) ?? []).map(Number))
    .filter((numbers) => numbers.length === 4 && numbers[0] < numbers[2] && numbers[1] < numbers[3])
    .map(([x1, y1, x2, y2]) => /** @type {Box} */ ([x1, y1, x2, y2]));
}
