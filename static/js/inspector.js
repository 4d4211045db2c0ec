// One cell large, with its neighbours, why it must be looked at, what the detector is proven on, and reference cells.
// Knows one cell at a time; knows nothing of the order of work.

import { make } from "./desk.js";

const AROUND_UM = 60;

export class Inspector {
  constructor(root, desk, types, evidence) {
    Object.assign(this, { root, desk, types, evidence, shown: null });
    this.references = new Map();
    const part = (name) => root.querySelector(`[data-part="${name}"]`);
    this.parts = Object.fromEntries(
      ["picture", "frame", "empty", "code", "name", "score", "said", "look", "card", "references", "refs-title"].map(
        (name) => [name, part(name)],
      ),
    );
  }

  show(cell, number) {
    const p = this.parts;
    this.root.classList.toggle("is-empty", !cell);
    if (!cell) return;
    if (this.shown !== cell.id) {
      p.picture.src = this.desk.around(cell.id);
      this.shown = cell.id;
    }
    const image = this.desk.images.get(cell.image);
    const [x1, y1, x2, y2] = cell.box;
    const side = Math.min(Math.max(AROUND_UM / (image.um_per_px || 0.2), 2.5 * Math.max(x2 - x1, y2 - y1)), 2048);
    Object.assign(p.frame.style, {
      width: `${(100 * (x2 - x1)) / side}%`,
      height: `${(100 * (y2 - y1)) / side}%`,
      left: `${50 - (50 * (x2 - x1)) / side}%`,
      top: `${50 - (50 * (y2 - y1)) / side}%`,
    });
    const type = this.types.get(cell.code);
    p.code.textContent = cell.code;
    p.code.style.backgroundColor = type.color;
    p.name.textContent = number > 1 ? `${type.name} · ${number} cells selected` : type.name;
    const size = ((x2 - x1 + y2 - y1) / 2) * (image.um_per_px || 0);
    const facts = [];
    if (cell.added) facts.push("added by a reader");
    else if (cell.score !== null) facts.push(`score ${cell.score.toFixed(2)}`);
    if (size) facts.push(`${size.toFixed(1)} µm`);
    facts.push(`${image.slide}, ${image.name}`);
    p.score.textContent = facts.join(" · ");
    p.said.textContent = cell.decided
      ? `${cell.by || "You"}: ${cell.code}${cell.said && cell.said !== cell.code ? ` (the detector said ${cell.said})` : ""}`
      : "Preliminary: nobody has confirmed this cell.";
    p.said.classList.toggle("is-decided", cell.decided);
    p.look.hidden = !cell.look.length;
    p.look.textContent = cell.look.length ? `Look at this one: ${cell.look.join(", ")}.` : "";
    this.#card(cell.said || cell.code);
    this.#showReferences(cell.code);
  }

  // How far the detector is proven on the type it named.
  #card(code) {
    const card = this.evidence[code];
    if (!card) {
      this.parts.card.replaceChildren();
      return;
    }
    const lines = [
      make(
        "p",
        { className: "card-head" },
        make("span", { className: `evidence evidence-${card.level}` }, `${card.level} evidence`),
        ` for ${code} · trained on ${card.n_train ?? 0}`,
      ),
    ];
    for (const test of card.tests) {
      const figures = [];
      if (test.right !== undefined) figures.push(`${test.right}/${test.of} right (95 % ${test.low}–${test.high} %)`);
      for (const name of ["precision", "recall"]) {
        if (test[name]) figures.push(`${name} ${test[name][0]} % (95 % ${test[name][1]}–${test[name][2]} %)`);
      }
      if (typeof test.ap50 === "number") figures.push(`AP ${test.ap50.toFixed(2)}, n ${test.n}`);
      if (figures.length) lines.push(make("p", {}, `${test.name}: ${figures.join(" · ")}`));
    }
    if (!card.tests.length) lines.push(make("p", {}, "Never tested on this type."));
    this.parts.card.replaceChildren(...lines);
  }

  async #showReferences(code) {
    this.parts["refs-title"].textContent = `${code}: atlas and signed cells`;
    if (!this.references.has(code)) {
      this.references.set(code, null);
      const answer = await fetch(this.desk.urls.references.replace("/CODE.", `/${code}.`), {
        headers: { Accept: "application/json" },
      }).catch(() => null);
      const { cells, atlas } = answer?.ok ? await answer.json() : { cells: [], atlas: [] };
      this.references.set(code, [...atlas, ...cells.map((id) => this.desk.crop(id))]);
    }
    const pictures = this.references.get(code);
    if (pictures === null || this.desk.get(this.shown)?.code !== code) return;
    this.parts.references.replaceChildren(
      ...(pictures.length
        ? pictures.map((src) => make("img", { src, alt: `reference ${code}`, width: 52, height: 52 }))
        : [make("p", { className: "refs-none" }, "None yet.")]),
    );
  }
}
