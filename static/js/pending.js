// The decisions that the server has not confirmed yet, laid over the cells as the server last sent them.
// Pure: it draws nothing and asks nobody, so that node can test it.

/** @typedef {import("./types.js").Cell} Cell */
/** @typedef {import("./types.js").Act} Act */
/** @typedef {import("./types.js").Outcome} Outcome */

export const MOST_AT_ONCE = 50;

export class Pending {
  constructor() {
    /** @type {Map<number, Cell>} */
    this.stored = new Map();
    /** @type {Act[]} */
    this.acts = [];
  }

  /** @param {Cell[]} cells as the server sent them */
  store(cells) {
    for (const cell of cells) this.stored.set(cell.id, cell);
  }

  /** @param {Act} act */
  push(act) {
    this.acts.push(act);
  }

  /**
   * Take an act back that was never sent.
   * @param {string} key
   */
  retract(key) {
    this.acts = this.acts.filter((act) => act.key !== key);
  }

  /**
   * A cell as it is shown: what the server stored, and on it what this reader has decided since.
   * @param {number} id
   * @returns {Cell | undefined}
   */
  shown(id) {
    const stored = this.stored.get(id);
    if (!stored) return undefined;
    const labels = this.acts.filter((act) => act.act === "label" && act.ids.includes(id));
    if (!labels.length) return stored;
    const code = labels.reduce((before, act) => act.code ?? before, stored.code);
    return { ...stored, code, decided: true, look: [] };
  }

  /** The next acts to send, each with the decisions that its cells were shown with. */
  batch() {
    return this.acts.slice(0, MOST_AT_ONCE).map(({ ids, ...act }) =>
      act.act === "label" ? { ...act, cells: Object.fromEntries(ids.map((id) => [id, this.stored.get(id)?.seen ?? 0])) } : act,
    );
  }

  /**
   * Take an answer: the acts that it is about are done with. An undo or redo that waits behind a refused act would
   * reverse another step than the reader saw, so it is dropped; its keys are returned.
   * @param {Outcome[]} outcomes
   * @param {Cell[]} changed
   * @returns {string[]}
   */
  settle(outcomes, changed) {
    const done = new Set(outcomes.map((outcome) => outcome.key));
    this.store(changed);
    this.acts = this.acts.filter((act) => !done.has(act.key));
    if (!outcomes.some(({ state }) => state === "refused" || state === "collided")) return [];
    const dropped = this.acts.filter((act) => act.act === "undo" || act.act === "redo").map((act) => act.key);
    this.acts = this.acts.filter((act) => !dropped.includes(act.key));
    return dropped;
  }
}
