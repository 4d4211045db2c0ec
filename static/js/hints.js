// Letters on the pictures in view, so that any of them is two keys away: J, then its letter.

import { make } from "./page.js";

const LETTERS = [..."asdfghjklqwertyuiopzxcvbnm1234567890"];

/**
 * Texts to type, one for each of `number` pictures: single letters first; where they run short the last ones open pairs.
 * No text begins with another one. Pure.
 * @param {number} number
 * @returns {string[]}
 */
export function hintTexts(number) {
  const openers = Math.max(0, Math.ceil((number - LETTERS.length) / (LETTERS.length - 1)));
  const singles = LETTERS.slice(0, LETTERS.length - openers);
  const pairs = LETTERS.slice(singles.length).flatMap((first) => LETTERS.map((second) => first + second));
  return [...singles, ...pairs].slice(0, number);
}

export class Hints {
  constructor() {
    /** @type {Map<string, HTMLElement>} */
    this.tiles = new Map();
    this.typed = "";
  }

  get isOn() {
    return this.tiles.size > 0;
  }

  /** @param {HTMLElement[]} tiles the ones that most likely are meant first: they get the single letters */
  show(tiles) {
    this.hide();
    const texts = hintTexts(tiles.length);
    texts.forEach((text, index) => {
      this.tiles.set(text, tiles[index]);
      tiles[index].append(make("kbd", { className: "tile-hint" }, text.toUpperCase()));
    });
  }

  hide() {
    for (const tile of this.tiles.values()) tile.querySelector(".tile-hint")?.remove();
    this.tiles.clear();
    this.typed = "";
  }

  /**
   * One key while the letters are shown; they vanish when a picture is chosen or none can be any more.
   * @param {string} key
   * @returns {HTMLElement | undefined} the chosen picture
   */
  type(key) {
    this.typed += key.toLowerCase();
    const tile = this.tiles.get(this.typed);
    if (!tile && [...this.tiles.keys()].some((text) => text.startsWith(this.typed))) return undefined;
    this.hide();
    return tile;
  }
}
