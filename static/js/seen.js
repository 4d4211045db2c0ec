// Which tiles of the gallery are before the reader's eyes, since when, and whether their pictures have been shown:
// nothing is decided that was not seen.

import { Dwell } from "./dwell.js";
import { around } from "./page.js";

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
    /** @type {Dwell<HTMLElement>} */
    this.dwell = new Dwell();
    this.soon = 0;
    this.ripe = 0;
    /** The tiles within the scrolling element, and those within the window: only what is in both is seen. @type {Set<HTMLElement>[]} */
    this.within = [new Set(), new Set()];
    this.watchers = [{ root, rootMargin: "-36px 0px 0px" }, {}].map(
      (frame, index) => new IntersectionObserver((entries) => this.#watch(entries, this.within[index]), { ...frame, threshold: [0, SEEN_PART] }),
    );
    root.addEventListener("load", (event) => this.#load(around(event, ".tile")), true);
    document.addEventListener("visibilitychange", () => this.#look([...this.within[0]]));
  }

  /** @param {HTMLElement} tile that may come into view */
  watch(tile) {
    for (const watcher of this.watchers) watcher.observe(tile);
  }

  /** @param {HTMLElement} tile that is far from view, where no observer would tell that it has left */
  leave(tile) {
    for (const watcher of this.watchers) watcher.unobserve(tile);
    for (const within of this.within) within.delete(tile);
    this.#look([tile]);
  }

  /**
   * Whether the picture of a tile has been on the screen long enough to have been seen.
   * @param {HTMLElement | undefined} tile
   */
  hasShown(tile) {
    return tile !== undefined && this.dwell.longest(tile, performance.now()) >= STOOD_MS;
  }

  /**
   * Whether tiles have stood in view, with their pictures, long enough to be confirmed together.
   * @param {HTMLElement[]} tiles
   */
  areRipe(tiles) {
    const now = performance.now();
    return tiles.every((tile) => this.dwell.now(tile, now) >= SEEN_AFTER_MS);
  }

  /**
   * The tiles in view, in the order of the page.
   * @returns {HTMLElement[]}
   */
  tiles() {
    return [...this.dwell.entered.keys()].filter((tile) => tile.isConnected).sort((a, b) => (a.compareDocumentPosition(b) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1));
  }

  /** @param {HTMLElement | null} tile */
  #load(tile) {
    if (tile) this.dwell.load(tile, performance.now());
    this.#changed();
  }

  /**
   * @param {IntersectionObserverEntry[]} entries
   * @param {Set<HTMLElement>} within
   */
  #watch(entries, within) {
    const tiles = entries.map((entry) => {
      const tile = /** @type {HTMLElement} */ (entry.target);
      if (entry.intersectionRatio < SEEN_PART) within.delete(tile);
      else within.add(tile);
      return tile;
    });
    this.#look(tiles);
  }

  /** @param {HTMLElement[]} tiles */
  #look(tiles) {
    const now = performance.now();
    for (const tile of tiles) {
      if (!document.hidden && this.within.every((within) => within.has(tile))) this.dwell.enter(tile, now);
      else this.dwell.leave(tile, now);
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
