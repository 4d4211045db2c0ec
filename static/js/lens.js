// The lens: the picture under the mouse at four times its size, as long as Space is held. It decides nothing.

import { around, make } from "./page.js";

const TIMES = 4;
const EDGE_PX = 8; // from the border of the window

export class Lens {
  /** @param {HTMLElement} root the element whose tiles are shown */
  constructor(root) {
    /** @type {HTMLElement | null} the tile under the mouse */
    this.tile = null;
    this.glass = make("div", { className: "lens", hidden: true, "aria-hidden": "true" }, make("img", { alt: "" }));
    document.body.append(this.glass);
    root.addEventListener("pointerover", (event) => this.#over(event));
    root.addEventListener("pointerleave", () => this.#over(null));
  }

  /** @param {PointerEvent | null} event */
  #over(event) {
    const tile = event && event.pointerType !== "touch" ? around(event, ".tile") : null;
    if (tile === this.tile) return;
    this.tile = tile;
    if (!this.glass.hidden) this.show();
  }

  /** Show the tile under the mouse; false where there is none with a picture. */
  show() {
    const picture = this.tile?.isConnected ? this.tile.querySelector("img") : null;
    this.glass.hidden = !picture?.naturalWidth;
    if (!picture?.naturalWidth) return false;
    this.glass.firstElementChild.src = picture.src;
    const box = picture.getBoundingClientRect();
    const side = Math.min(box.width * TIMES, window.innerWidth - 2 * EDGE_PX, window.innerHeight - 2 * EDGE_PX);
    Object.assign(this.glass.style, {
      width: `${side}px`,
      height: `${side}px`,
      left: `${inside(box.left + box.width / 2 - side / 2, window.innerWidth - side)}px`,
      top: `${inside(box.top + box.height / 2 - side / 2, window.innerHeight - side)}px`,
    });
    return true;
  }

  hide() {
    this.glass.hidden = true;
  }
}

/**
 * @param {number} at
 * @param {number} most
 */
function inside(at, most) {
  return Math.max(EDGE_PX, Math.min(at, most - EDGE_PX));
}
