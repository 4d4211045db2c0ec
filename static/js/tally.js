// The live differential beside the workbench: counts, percentages with intervals, flags, and what the count can say.
// It shows the server's summary; until the server has counted what was just decided, its figures are grey.

import { make } from "./desk.js";

export class Tally {
  constructor(root, desk, types, gallery, { onJump, canChange }) {
    Object.assign(this, { root, desk, types });
    this.rows = new Map();
    const list = root.querySelector("[data-part=rows]");
    for (const type of types.values()) {
      const swatch = make("span", { className: "swatch", "aria-hidden": "true" });
      swatch.style.backgroundColor = type.color;
      const bar = make("span", { className: "tally-bar", "aria-hidden": "true" }, make("span", {}), make("i", {}));
      bar.style.setProperty("--type", type.color);
      const parts = {
        count: make("span", { className: "tally-count" }),
        percent: make("span", { className: "tally-percent" }),
        call: make("span", { className: "tally-call" }),
      };
      const row = make(
        "button",
        { type: "button", className: "tally-row", dataset: { code: type.code } },
        swatch,
        make("span", { className: "tally-name" }, type.label),
        bar,
        parts.count,
        parts.percent,
        parts.call,
      );
      row.title = type.label;
      row.addEventListener("click", () => onJump(type.code));
      if (canChange) gallery.acceptDrops(row, type.code);
      this.rows.set(type.code, { row, bar, ...parts });
      list.append(make("li", {}, row));
    }
    desk.addEventListener("summary", () => this.show(desk.summary));
    desk.addEventListener("changed", () => this.#countHere());
    desk.addEventListener("saving", () => this.#markStale());
  }

  show(summary) {
    for (const figures of summary.rows) {
      const row = this.rows.get(figures.code);
      const isPer100 = figures.per_100 !== null && figures.percent === null;
      const value = isPer100 ? figures.per_100 : figures.percent;
      row.percent.textContent = value === null || !figures.count ? "" : figures.text;
      row.call.textContent = figures.call === "high" ? "▲" : figures.call === "low" ? "▼" : "";
      row.call.title = figures.call ? `${figures.call}${figures.certain ? "" : ", but the interval does not settle it"}` : "";
      row.call.classList.toggle("is-uncertain", !figures.certain);
      const [fill, span] = row.bar.children;
      fill.style.width = `${Math.min(figures.percent ?? 0, 100)}%`;
      const hasSpan = figures.low !== null && figures.count > 0;
      span.hidden = !hasSpan;
      if (hasSpan) {
        span.style.left = `${figures.low}%`;
        span.style.width = `${figures.high - figures.low}%`;
      }
      const type = this.types.get(figures.code);
      const interval = hasSpan ? `, 95% interval ${figures.low.toFixed(1)} to ${figures.high.toFixed(1)}%` : "";
      row.row.title = `${type.label}: ${figures.count}${value === null ? "" : `, ${row.percent.textContent}`}${interval}`;
      row.row.setAttribute("aria-label", row.row.title);
    }
    this.root.querySelector("[data-part=total]").textContent = summary.total;
    const mark = this.root.querySelector("[data-part=preliminary]");
    mark.hidden = summary.cells > 0 && summary.undecided === 0;
    mark.textContent =
      summary.undecided < summary.cells ? "Preliminary, not all reviewed" : "Preliminary, not reviewed";
    const flags = this.root.querySelector("[data-part=flags]");
    flags.replaceChildren(
      ...summary.flags.map((flag) => {
        const button = make(
          "button",
          { type: "button", className: `flag flag-${flag.urgency}`, title: "Select the cells that caused it" },
          make("strong", {}, flag.title),
          ` ${flag.sentence}`,
        );
        button.addEventListener("click", () => {
          const ids = [...this.desk.cells.values()].filter((cell) => flag.codes.includes(cell.code)).map((cell) => cell.id);
          if (ids.length) this.desk.select(ids);
        });
        return make("li", {}, button);
      }),
    );
    this.root
      .querySelector("[data-part=sentences]")
      .replaceChildren(...summary.sentences.map((sentence) => make("li", {}, sentence)));
    this.#countHere();
  }

  // What the server has not counted yet is not shown as if it had.
  #markStale() {
    this.root.classList.toggle("is-stale", this.desk.waiting > 0);
    this.root.setAttribute("aria-busy", String(this.desk.waiting > 0));
  }

  // The counts follow at once; percentages and flags come with the server's answer.
  #countHere() {
    const counts = new Map();
    for (const cell of this.desk.cells.values()) counts.set(cell.code, (counts.get(cell.code) ?? 0) + 1);
    for (const [code, row] of this.rows) {
      const count = counts.get(code) ?? 0;
      row.count.textContent = count;
      row.row.classList.toggle("is-zero", count === 0);
    }
  }
}
