// How long each picture has been before a person: loaded, and in the visible part of the window. Pure: it is told the
// time, so that node can test it.

/** @template {object} Tile */
export class Dwell {
  constructor() {
    /** Tile in view to the time at which it came there. @type {Map<Tile, number>} */
    this.entered = new Map();
    /** @type {WeakMap<Tile, number>} */
    this.loaded = new WeakMap();
    /** The longest time that a tile stood in view and has left since. @type {WeakMap<Tile, number>} */
    this.before = new WeakMap();
  }

  /**
   * @param {Tile} tile
   * @param {number} at milliseconds, as everywhere here
   */
  load(tile, at) {
    if (!this.loaded.has(tile)) this.loaded.set(tile, at);
  }

  /**
   * @param {Tile} tile
   * @param {number} at
   */
  enter(tile, at) {
    if (!this.entered.has(tile)) this.entered.set(tile, at);
  }

  /**
   * @param {Tile} tile
   * @param {number} at
   */
  leave(tile, at) {
    this.before.set(tile, this.longest(tile, at));
    this.entered.delete(tile);
  }

  /**
   * How long a tile with its picture has stood in view without a break.
   * @param {Tile} tile
   * @param {number} at
   */
  now(tile, at) {
    const since = Math.max(this.entered.get(tile) ?? Infinity, this.loaded.get(tile) ?? Infinity);
    return Math.max(at - since, 0);
  }

  /**
   * The longest time that a tile with its picture stood in view without a break, until now or before.
   * @param {Tile} tile
   * @param {number} at
   */
  longest(tile, at) {
    return Math.max(this.now(tile, at), this.before.get(tile) ?? 0);
  }
}
