// Which tiles of the gallery are before the reader's eyes, since when, and whether their pictures have been shown:
// nothing is decided that was not seen.

const SEEN_PART = 0.6; // of a picture, below the heading of its type
const SEEN_AFTER_MS = 600; // a page may be confirmed only after it stood before the reader for a moment
const STOOD_MS = 150; // a cell among several is decided only after its picture was on the screen for so long

export class Seen {
  /**
   * @param {HTMLElement} root the scrolling element
   * @param {() => void} onChange called after scrolling and loading have calmed down
   */
  constructor(root, onChange) {
    this.onChange = onChange;
    /** Tile to the time at which it came into view. @type {Map<HTMLElement, number>} */
    this.inView = new Map();
    /** @type {WeakMap<HTMLElement, number>} */
    this.loadedAt = new WeakMap();
    this.soon = 0;
    this.ripe = 0;
    this.watcher = new IntersectionObserver((entries) => this.#watch(entries), { root, threshold: [0, SEEN_PART], rootMargin: "-36px 0px 0px" });
  }

  /**
   * @param {HTMLElement} tile
   * @param {HTMLImageElement} picture
   */
  watch(tile, picture) {
    picture.addEventListener("load", () => {
      this.loadedAt.set(tile, performance.now());
      this.#changed();
    });
    this.watcher.observe(tile);
  }

  /**
   * Whether the picture of a tile has been on the page long enough to have been seen.
   * @param {HTMLElement | undefined} tile
   */
  hasShown(tile) {
    return tile !== undefined && performance.now() - (this.loadedAt.get(tile) ?? Infinity) >= STOOD_MS;
  }

  /**
   * Whether tiles have stood in view, with their pictures, long enough to be confirmed together.
   * @param {HTMLElement[]} tiles
   */
  areRipe(tiles) {
    const now = performance.now();
    return tiles.every((tile) => this.loadedAt.has(tile) && now - (this.inView.get(tile) ?? Infinity) >= SEEN_AFTER_MS);
  }

  /**
   * The tiles in view, in the order of the page.
   * @returns {HTMLElement[]}
   */
  tiles() {
    return [...this.inView.keys()].filter((tile) => tile.isConnected).sort((a, b) => (a.compareDocumentPosition(b) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1));
  }

  /** @param {IntersectionObserverEntry[]} entries */
  #watch(entries) {
    const now = performance.now();
    for (const entry of entries) {
      const tile = /** @type {HTMLElement} */ (entry.target);
      if (entry.intersectionRatio < SEEN_PART) this.inView.delete(tile);
      else if (!this.inView.has(tile)) this.inView.set(tile, now);
    }
    this.#changed();
  }

  // While the reader scrolls and pictures arrive nothing is counted; then once, and once more when the page is ripe.
  #changed() {
    clearTimeout(this.soon);
    clearTimeout(this.ripe);
    this.soon = setTimeout(this.onChange, 120);
    this.ripe = setTimeout(this.onChange, SEEN_AFTER_MS + 20);
  }
}
