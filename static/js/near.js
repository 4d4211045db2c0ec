// Which tiles of the gallery are in view or one screen away. They are found by halving each list, so that a scroll step costs
// the same with ten cells and with twenty thousand. Knows elements, not cells.

const AHEAD_PX = 600;

export class Near {
  /**
   * @param {HTMLElement} root the scrolling element; its tiles are the children of its elements `.tiles`
   * @param {{ enter: (tile: HTMLElement) => void, leave: (tile: HTMLElement) => void }} on
   */
  constructor(root, on) {
    this.root = root;
    this.on = on;
    /** @type {Set<HTMLElement>} */
    this.tiles = new Set();
    this.frame = 0;
    root.addEventListener("scroll", () => this.look(), { passive: true });
    this.sizes = new ResizeObserver(() => this.look());
    this.sizes.observe(root);
  }

  /** @param {HTMLElement} list whose tiles move when it grows or shrinks */
  watch(list) {
    this.sizes.observe(list);
  }

  /** Look again before the next picture of the screen. */
  look() {
    if (!this.frame) this.frame = requestAnimationFrame(() => this.#look());
  }

  #look() {
    this.frame = 0;
    const near = this.#near();
    const gone = [...this.tiles].filter((tile) => !near.has(tile));
    const come = [...near].filter((tile) => !this.tiles.has(tile));
    this.tiles = near;
    gone.forEach(this.on.leave);
    come.forEach(this.on.enter);
  }

  /** @returns {Set<HTMLElement>} */
  #near() {
    const { top, bottom } = this.root.getBoundingClientRect();
    const near = new Set();
    for (const list of this.root.querySelectorAll(".tiles")) {
      const box = list.getBoundingClientRect();
      if (!box.height || box.bottom < top - AHEAD_PX || box.top > bottom + AHEAD_PX) continue;
      const tiles = /** @type {HTMLElement[]} */ ([...list.children]);
      for (let at = firstBelow(tiles, top - AHEAD_PX); at < tiles.length; at += 1) {
        if (tiles[at].getBoundingClientRect().top > bottom + AHEAD_PX) break;
        near.add(tiles[at]);
      }
    }
    return near;
  }
}

/**
 * The place of the first tile that ends below a height; tiles stand in rows from the top.
 * @param {HTMLElement[]} tiles
 * @param {number} height
 */
function firstBelow(tiles, height) {
  let [low, high] = [0, tiles.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (tiles[middle].getBoundingClientRect().bottom < height) low = middle + 1;
    else high = middle;
  }
  return low;
}
