// Where things lie on an image: the nuclei that no box covers, boxes around them, and the frame of a large picture. Pure.

/** @typedef {import("./types.js").Box} Box */
/** @typedef {import("./types.js").Cell} Cell */

const MARGIN_PART = 0.35; // of a nucleus' side: how much wider than its nucleus a cell's box is drawn
const AROUND_UM = 60; // of the smear that a large picture shows, as the server cuts it
const AROUND_CELLS = 2.5; // times the cell's own side, where that is more
const MOST_PX = 2048;
const CELL_PART = 0.6; // of the side of the large picture that the chosen cell takes at first

/**
 * The nuclei that no box covers: those of the stain check without the cells that readers have added since.
 * @param {{ nuclei: Box[] }} image
 * @param {Cell[]} cells
 * @returns {Box[]}
 */
export function uncovered(image, cells) {
  const added = cells.filter((cell) => cell.added && cell.code !== "NOT");
  return image.nuclei.filter(([x1, y1, x2, y2]) => {
    const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
    return !added.some(({ box }) => x > box[0] && x < box[2] && y > box[1] && y < box[3]);
  });
}

/**
 * The box of a cell around a stained nucleus.
 * @param {Box} nucleus
 * @returns {Box}
 */
export function boxAround([x1, y1, x2, y2]) {
  const margin = MARGIN_PART * Math.max(x2 - x1, y2 - y1);
  return [x1 - margin, y1 - margin, x2 + margin, y2 + margin];
}

/**
 * The side in pixels of the image of the square that the server cuts around a cell.
 * @param {Box} box
 * @param {number | null} umPerPx null: the scale is unknown
 */
export function sideAround([x1, y1, x2, y2], umPerPx) {
  return Math.min(Math.max(umPerPx ? AROUND_UM / umPerPx : 0, AROUND_CELLS * Math.max(x2 - x1, y2 - y1)), MOST_PX);
}

/**
 * How many times a large picture is enlarged so that the cell in its middle takes most of it.
 * @param {Box} box
 * @param {number} side of the picture, in pixels of the image
 */
export function zoomOnCell([x1, y1, x2, y2], side) {
  return Math.max((CELL_PART * side) / Math.max(x2 - x1, y2 - y1), 1);
}

/**
 * The length in µm of a line on an image.
 * @param {Box} line from x1, y1 to x2, y2
 * @param {number} umPerPx
 */
export function lengthUm([x1, y1, x2, y2], umPerPx) {
  return Math.hypot(x2 - x1, y2 - y1) * umPerPx;
}

/**
 * The nearest cell under a place.
 * @param {Cell[]} cells
 * @param {number} x
 * @param {number} y
 * @param {number} margin how far beside its box a cell is still meant
 * @returns {Cell | null}
 */
export function cellAt(cells, x, y, margin) {
  let best = null;
  let least = Infinity;
  for (const cell of cells) {
    const [x1, y1, x2, y2] = cell.box;
    if (x < x1 - margin || x > x2 + margin || y < y1 - margin || y > y2 + margin) continue;
    const far = (x - (x1 + x2) / 2) ** 2 + (y - (y1 + y2) / 2) ** 2;
    if (far < least) [best, least] = [cell, far];
  }
  return best;
}
