// In what order the gallery lays cells of one type. Pure.

/** @typedef {import("./types.js").Cell} Cell */

/** @param {Cell} cell */
const scoreOf = (cell) => cell.score ?? 1;
/** @param {Cell} cell */
const disagrees = (cell) => Number(cell.decided && cell.said !== cell.code);
/** @param {Cell} cell */
const sizeOf = (cell) => (cell.box[2] - cell.box[0]) * (cell.box[3] - cell.box[1]);

/** @type {Record<string, (a: Cell, b: Cell, rank: Map<number, number>) => number>} */
const SORTS = {
  attention: (a, b, rank) => (rank.get(a.id) ?? 1e9) - (rank.get(b.id) ?? 1e9) || scoreOf(a) - scoreOf(b),
  score: (a, b) => scoreOf(b) - scoreOf(a),
  doubt: (a, b) => scoreOf(a) - scoreOf(b),
  changed: (a, b) => disagrees(b) - disagrees(a) || scoreOf(a) - scoreOf(b),
  size: (a, b) => sizeOf(b) - sizeOf(a),
  slide: (a, b) => a.image - b.image || a.box[1] - b.box[1] || a.box[0] - b.box[0],
};

/**
 * @param {Cell[]} cells
 * @param {string} sort one of attention, score, doubt, changed, size, slide
 * @param {number[]} order the server's order by what a cell could change
 * @returns {Cell[]}
 */
export function sorted(cells, sort, order) {
  const rank = new Map(order.map((id, place) => [id, place]));
  return [...cells].sort((a, b) => SORTS[sort](a, b, rank) || a.id - b.id);
}
