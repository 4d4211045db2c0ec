// Keeps the tiles that are in view or one screen away, and tells which come and go. Knows lists and elements, not cells.

/** @typedef {import("./tilelist.js").TileList} TileList */

const AHEAD_PX = 600;

export class Near {
  /**
   * @param {HTMLElement} root the scrolling element
   * @param {{ enter: (tile: HTMLElement) => void, leave: (tile: HTMLElement) => void, looked: () => void }} on
   */
  constructor(root, on) {
    this.root = root;
    this.on = on;
    /** @type {TileList[]} */
    this.lists = [];
    /** @type {Set<HTMLElement>} */
    this.tiles = new Set();
    this.frame = 0;
    root.addEventListener("scroll", () => this.soon(), { passive: true });
    this.sizes = new ResizeObserver(() => this.soon());
    this.sizes.observe(root);
  }

  /** @param {TileList} list whose tiles move when it grows or shrinks */
  watch(list) {
    this.lists.push(list);
    this.sizes.observe(list.element);
  }

  /** Look again before the next picture of the screen. */
  soon() {
    if (!this.frame) this.frame = requestAnimationFrame(() => this.look());
  }

  look() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    const near = this.root.clientHeight ? this.#near() : new Set();
    const gone = [...this.tiles].filter((tile) => !near.has(tile));
    const come = [...near].filter((tile) => !this.tiles.has(tile));
    this.tiles = near;
    gone.forEach(this.on.leave);
    come.forEach(this.on.enter);
    this.on.looked();
  }

  /**
   * All is read before anything is written: one layout of the page, however many lists there are.
   * @returns {Set<HTMLElement>}
   */
  #near() {
    for (const list of this.lists) if (list.ids.length) list.measure();
    for (const list of this.lists) list.resize();
    const { top, bottom } = this.root.getBoundingClientRect();
    const tops = this.lists.map((list) => list.element.getBoundingClientRect().top);
    return new Set(this.lists.flatMap((list, index) => list.show(top - AHEAD_PX - tops[index], bottom + AHEAD_PX - tops[index])));
  }
}
