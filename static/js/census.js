// How many cells bear each label and how many of them nobody has decided, kept as cells change. Pure: a change costs
// the same with ten cells and with ten thousand.

/** @typedef {import("./types.js").Cell} Cell */

export class Census {
  constructor() {
    /** @type {Map<string, { all: number, open: number }>} */
    this.types = new Map();
    this.cells = 0;
    this.open = 0;
  }

  /** @param {Iterable<Cell>} cells */
  static of(cells) {
    const census = new Census();
    for (const cell of cells) census.replace(undefined, cell);
    return census;
  }

  /** @param {string} code */
  count(code) {
    return this.types.get(code) ?? { all: 0, open: 0 };
  }

  get decided() {
    return this.cells - this.open;
  }

  /**
   * Count a cell as it is now in the place of what it was.
   * @param {Cell | undefined} before undefined: it was not counted yet
   * @param {Cell | undefined} after undefined: it is counted no longer
   */
  replace(before, after) {
    if (before) this.#add(before, -1);
    if (after) this.#add(after, 1);
  }

  /**
   * @param {Cell} cell
   * @param {number} step
   */
  #add(cell, step) {
    const counted = this.types.get(cell.code) ?? { all: 0, open: 0 };
    const open = cell.decided ? 0 : step;
    this.types.set(cell.code, { all: counted.all + step, open: counted.open + open });
    this.cells += step;
    this.open += open;
  }
}
