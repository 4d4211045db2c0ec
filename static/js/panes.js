// What the middle of the workbench shows: the cells, the field, or both; remembered by this browser.

import { around } from "./page.js";

const KEPT_AS = "bench-pane";
const PANES = ["cells", "field", "both"];

export class Panes {
  /**
   * @param {HTMLElement} root
   * @param {HTMLElement} tabs a button for each pane
   * @param {() => void} onField called when the field has come into view
   */
  constructor(root, tabs, onField) {
    this.root = root;
    this.tabs = tabs;
    this.onField = onField;
    const kept = localStorage.getItem(KEPT_AS) ?? "";
    this.show(PANES.includes(kept) ? kept : PANES[0]);
    tabs.addEventListener("click", (event) => {
      const button = around(event, "button");
      if (button) this.show(button.dataset.pane ?? "");
    });
  }

  /** @param {string} pane */
  show(pane) {
    const wasField = this.hasField;
    this.root.dataset.pane = pane;
    localStorage.setItem(KEPT_AS, pane);
    for (const button of this.tabs.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.pane === pane));
    if (this.hasField && !wasField) requestAnimationFrame(this.onField);
  }

  get hasField() {
    return this.root.dataset.pane !== undefined && this.root.dataset.pane !== "cells";
  }

  /** Cells, field, both, and again. */
  next() {
    this.show(PANES[(PANES.indexOf(this.root.dataset.pane ?? "") + 1) % PANES.length]);
  }

  /** Let the field be seen, whatever is. */
  needField() {
    if (!this.hasField) this.show("both");
  }
}
