// The live differential beside the workbench: counts, percentages with intervals, flags, and what the count can say.
// It shows the server's summary; until the server has counted what was just decided, its figures are grey.

import { acceptDrops } from "./gallery_mouse.js";
import { make } from "./page.js";
import { decimal, gettext, interpolate } from "./words.js";

/** @typedef {import("./types.js").Row} Row */
/** @typedef {import("./types.js").Flag} Flag */
/** @typedef {{ row: HTMLElement, bar: HTMLElement, count: HTMLElement, percent: HTMLElement, call: HTMLElement }} Line */

export class Tally {
  /**
   * @param {HTMLElement} root
   * @param {import("./desk.js").Desk} desk
   * @param {import("./types.js").Types} types
   * @param {import("./gallery.js").Gallery} gallery
   * @param {{ onJump: (code: string) => void, canChange: boolean }} page
   */
  constructor(root, desk, types, gallery, { onJump, canChange }) {
    this.root = root;
    this.desk = desk;
    this.types = types;
    /** @type {Map<string, Line>} */
    this.lines = new Map();
    for (const type of types.all()) {
      const line = newLine(type);
      line.row.addEventListener("click", () => onJump(type.code));
      if (canChange) acceptDrops(gallery, line.row, type.code);
      this.lines.set(type.code, line);
      this.#part("rows").append(make("li", {}, line.row));
    }
    desk.addEventListener("summary", () => this.show());
    desk.addEventListener("changed", () => this.#countHere());
    desk.addEventListener("saving", () => this.#markStale());
  }

  show() {
    const { summary } = this.desk;
    if (!summary) return;
    for (const figures of summary.rows) this.#showRow(figures);
    this.#part("total").textContent = String(summary.total);
    const mark = this.#part("preliminary");
    mark.hidden = summary.cells > 0 && summary.undecided === 0;
    mark.textContent = summary.undecided < summary.cells ? gettext("Preliminary, not all reviewed") : gettext("Preliminary, not reviewed");
    this.#part("flags").replaceChildren(...summary.flags.map((flag) => this.#flag(flag)));
    this.#part("sentences").replaceChildren(...summary.sentences.map((sentence) => make("li", {}, sentence)));
    this.#countHere();
  }

  /** @param {Row} figures */
  #showRow(figures) {
    const line = this.lines.get(figures.code);
    if (!line) return;
    const isPer100 = figures.per_100 !== null && figures.percent === null;
    const value = isPer100 ? figures.per_100 : figures.percent;
    line.percent.textContent = value === null || !figures.count ? "" : figures.text;
    line.call.textContent = figures.call === "high" ? "▲" : figures.call === "low" ? "▼" : "";
    line.call.title = figures.call ? `${figures.call_words ?? figures.call}${figures.certain ? "" : gettext(", but the interval does not settle it")}` : "";
    line.call.classList.toggle("is-uncertain", !figures.certain);
    const [fill, span] = /** @type {HTMLElement[]} */ ([...line.bar.children]);
    fill.style.width = `${Math.min(figures.percent ?? 0, 100)}%`;
    const { low, high } = figures;
    const interval = low !== null && high !== null && figures.count > 0 ? { low, high } : null;
    span.hidden = !interval;
    if (interval) {
      span.style.left = `${interval.low}%`;
      span.style.width = `${interval.high - interval.low}%`;
    }
    const words = interval ? interpolate(gettext(", 95% interval %(low)s to %(high)s%"), { low: decimal(interval.low, 1), high: decimal(interval.high, 1) }) : "";
    const share = value === null ? "" : `, ${line.percent.textContent}`;
    line.row.title = `${this.types.get(figures.code).label}: ${figures.count}${share}${words}`;
    line.row.setAttribute("aria-label", line.row.title);
  }

  /** @param {Flag} flag */
  #flag(flag) {
    const button = make(
      "button",
      { type: "button", className: `tally-flag tally-flag-${flag.urgency}`, title: gettext("Select the cells that caused it") },
      make("strong", {}, flag.title),
      make("span", {}, ` ${flag.sentence}`),
    );
    button.addEventListener("click", () => {
      const ids = [...this.desk.cells.values()].filter((cell) => flag.codes.includes(cell.code)).map((cell) => cell.id);
      if (ids.length) this.desk.select(ids);
    });
    return make("li", {}, button);
  }

  // What the server has not counted yet is not shown as if it had.
  #markStale() {
    this.root.classList.toggle("is-stale", this.desk.waiting > 0);
    this.root.setAttribute("aria-busy", String(this.desk.waiting > 0));
  }

  // The counts follow at once; percentages and flags come with the server's answer.
  #countHere() {
    for (const [code, line] of this.lines) {
      const { all } = this.desk.census.count(code);
      line.count.textContent = String(all);
      line.row.classList.toggle("is-zero", all === 0);
    }
  }

  /**
   * @param {string} name
   * @returns {HTMLElement}
   */
  #part(name) {
    return /** @type {HTMLElement} */ (this.root.querySelector(`[data-part="${name}"]`));
  }
}

/**
 * @param {import("./types.js").CellType} type
 * @returns {Line}
 */
function newLine(type) {
  const swatch = make("span", { className: "swatch", "aria-hidden": "true" });
  swatch.style.backgroundColor = type.color;
  const bar = make("span", { className: "tally-bar", "aria-hidden": "true" }, make("span", {}), make("i", {}));
  bar.style.setProperty("--type", type.color);
  const parts = {
    count: make("span", { className: "tally-count" }),
    percent: make("span", { className: "tally-percent" }),
    call: make("span", { className: "tally-call" }),
  };
  const name = make("span", { className: "tally-name" }, type.label);
  const properties = { type: "button", className: "tally-row", dataset: { code: type.code }, title: type.label };
  const row = make("button", properties, swatch, name, bar, parts.count, parts.percent, parts.call);
  return { row, bar, ...parts };
}
