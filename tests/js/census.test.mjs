// Counts that follow single changes instead of being made anew.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Census } from "../../static/js/census.js";
import { cell } from "./cells.mjs";

test("a relabelled cell is counted with its new label only", () => {
  const before = cell(1);
  const census = Census.of([before, cell(2), cell(3, "LYT")]);
  census.replace(before, cell(1, "NGB", { decided: true }));
  assert.deepEqual(census.count("NGS"), { all: 1, open: 1 });
  assert.deepEqual(census.count("NGB"), { all: 1, open: 0 });
  assert.deepEqual([census.cells, census.open, census.decided], [3, 2, 1]);
});

test("counts after many changes are those of a count made anew", () => {
  const codes = ["NGS", "LYT", "MON", "NOT"];
  const cells = Array.from({ length: 200 }, (_, id) => cell(id, codes[id % 4]));
  const census = Census.of(cells);
  for (let step = 0; step < 1000; step += 1) {
    const id = (step * 37) % 200;
    const after = cell(id, codes[(step * 11) % 4], { decided: step % 3 > 0 });
    census.replace(cells[id], after);
    cells[id] = after;
  }
  const anew = Census.of(cells);
  for (const code of codes) assert.deepEqual(census.count(code), anew.count(code));
  assert.equal(census.decided, anew.decided);
});

test("a type without cells counts none", () => {
  assert.deepEqual(new Census().count("BAS"), { all: 0, open: 0 });
});
