// One cell in the gallery: its picture, its score and the mark of its state.

import { make } from "./page.js";
import { decimal, gettext, interpolate } from "./words.js";

/** @typedef {import("./types.js").Cell} Cell */
/** @typedef {import("./types.js").Types} Types */

/** @param {Element} tile */
export const idOf = (tile) => Number(/** @type {HTMLElement} */ (tile).dataset.id);

/** @param {HTMLElement} tile */
export const pictureOf = (tile) => /** @type {HTMLImageElement} */ (tile.firstElementChild);

/**
 * @param {number} id
 * @param {boolean} canChange
 * @param {string} src of its picture, loaded when the tile is near the view
 * @returns {HTMLElement}
 */
export function newTile(id, canChange, src) {
  const tile = make("div", { className: "tile", role: "option", tabIndex: -1, draggable: canChange, dataset: { id } });
  const picture = make("img", { decoding: "async", alt: "", draggable: false, dataset: { src } });
  picture.addEventListener("error", () => tile.classList.add("no-picture"));
  tile.append(picture, make("span", { className: "tile-score" }), make("span", { className: "tile-mark", "aria-hidden": "true" }));
  return tile;
}

/**
 * @param {HTMLElement} tile
 * @param {Cell} cell
 * @param {Types} types
 * @param {string} place its number among all
 */
export function showCell(tile, cell, types, place) {
  tile.classList.toggle("needs-look", cell.look.length > 0);
  tile.classList.toggle("is-decided", cell.decided);
  tile.classList.toggle("is-changed", cell.decided && cell.said !== cell.code);
  tile.title = describe(cell, types);
  tile.setAttribute("aria-label", `${place}, ${tile.title}`);
  const [, score, mark] = tile.children;
  score.textContent = cell.added ? gettext("added") : cell.score === null ? "" : decimal(cell.score, 2).replace(/^0\./, ".");
  const was = cell.said ? types.get(cell.said).short : "+";
  mark.textContent = cell.decided ? (cell.said === cell.code ? "✓" : `✓ ${was}→`) : cell.look.length ? "!" : "";
}

/**
 * @param {Cell} cell
 * @param {Types} types
 */
export function describe(cell, types) {
  const parts = [types.get(cell.code).label];
  if (cell.added) parts.push(gettext("added by a reader"));
  else if (cell.score !== null) parts.push(interpolate(gettext("score %(score)s"), { score: decimal(cell.score, 2) }));
  if (cell.said && cell.said !== cell.code) parts.push(interpolate(gettext("detector: %(name)s"), { name: types.name(cell.said) }));
  parts.push(cell.decided ? (cell.by ? interpolate(gettext("reviewed by %(by)s"), { by: cell.by }) : gettext("reviewed")) : gettext("not reviewed"));
  if (cell.look.length) parts.push(interpolate(gettext("needs review: %(reasons)s"), { reasons: cell.look.join(", ") }));
  return parts.join(", ");
}
