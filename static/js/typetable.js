// The labels that a reader can give, in the order of the pages, with their names, colours and keys. Pure.

import { withinSentence } from "./words.js";

/** @typedef {import("./types.js").CellType} CellType */

export class TypeTable {
  /** @param {CellType[]} types */
  constructor(types) {
    this.byCode = new Map(types.map((type) => [type.code, type]));
  }

  /**
   * The type of a code; one that this page does not know is shown by its code.
   * @param {string} code
   * @returns {CellType}
   */
  get(code) {
    return this.byCode.get(code) ?? { code, label: code, short: code, color: "#555", key: "" };
  }

  /**
   * The name within a sentence: "band neutrophil".
   * @param {string} code
   */
  name(code) {
    return withinSentence(this.get(code).label);
  }

  /** @returns {CellType[]} */
  all() {
    return [...this.byCode.values()];
  }

  /**
   * The code whose key this is.
   * @param {string} key
   */
  ofKey(key) {
    return this.all().find((type) => type.key === key)?.code;
  }
}
