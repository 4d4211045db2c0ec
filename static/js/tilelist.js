// The tiles of one type: a long list of cells of which only the rows near the view are elements, so that opening, scrolling
// and relabelling cost the same with ten cells and with twenty thousand. Knows places and elements, not cells.

export class TileList {
  /**
   * @param {HTMLElement} element the grid; it is as high as all its rows
   * @param {(id: number) => HTMLElement} tileOf
   */
  constructor(element, tileOf) {
    this.element = element;
    this.tileOf = tileOf;
    /** @type {number[]} */
    this.ids = [];
    this.columns = 1;
    this.rowPx = 0;
    this.gapPx = 0;
  }

  /** @param {number} id */
  prepend(id) {
    this.ids.unshift(id);
  }

  /** @param {number} id */
  remove(id) {
    const at = this.ids.indexOf(id);
    if (at >= 0) this.ids.splice(at, 1);
  }

  /** Read how its tiles fall into rows at the size that the page gives it now; squares in columns of equal width. */
  measure() {
    const style = getComputedStyle(this.element);
    const tracks = style.gridTemplateColumns.split(" ");
    this.columns = tracks.length;
    this.gapPx = parseFloat(style.rowGap) || 0;
    this.rowPx = parseFloat(tracks[0]) + this.gapPx;
  }

  /** Take the height of all rows. */
  resize() {
    const rows = Math.ceil(this.ids.length / this.columns);
    this.element.style.height = `${Math.max(rows * this.rowPx - this.gapPx, 0)}px`;
  }

  /**
   * How far below the top of the list the row of a cell begins.
   * @param {number} id
   */
  topOf(id) {
    return Math.floor(this.ids.indexOf(id) / this.columns) * this.rowPx;
  }

  /**
   * Make the rows between two heights below the top of the list elements, and no others; those that stay are not touched.
   * @param {number} top
   * @param {number} bottom
   * @returns {HTMLElement[]}
   */
  show(top, bottom) {
    const first = Math.max(Math.floor(top / this.rowPx), 0);
    const after = Math.max(Math.floor(bottom / this.rowPx) + 1, first);
    const tiles = this.ids.slice(first * this.columns, after * this.columns).map(this.tileOf);
    const kept = new Set(tiles);
    for (const old of [...this.element.children]) if (!kept.has(/** @type {HTMLElement} */ (old))) old.remove();
    let next = this.element.firstElementChild;
    for (const tile of tiles) {
      if (tile === next) next = next.nextElementSibling;
      else this.element.insertBefore(tile, next);
    }
    this.element.style.paddingTop = tiles.length ? `${first * this.rowPx}px` : "";
    return tiles;
  }
}
