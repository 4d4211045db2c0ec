// What the queue of decisions shows, sends and drops.
import assert from "node:assert/strict";
import { test } from "node:test";

import { MOST_AT_ONCE, Pending } from "../../static/js/pending.js";

const cell = (id, more = {}) => ({
  id, image: 1, code: "NGS", said: "NGS", score: 0.9, box: [0, 0, 9, 9], seen: 0, decided: false, by: "", at: "", added: false, look: ["low score"], together: 1, ...more,
});
const label = (key, ids, code) => ({ key, act: "label", ids, code });

function withCells(...ids) {
  const pending = new Pending();
  pending.store(ids.map((id) => cell(id)));
  return pending;
}

test("a decision is shown at once, and the stored cell stays as it was", () => {
  const pending = withCells(1);
  pending.push(label("a", [1], "NGB"));
  assert.deepEqual([pending.shown(1).code, pending.shown(1).decided, pending.shown(1).look], ["NGB", true, []]);
  assert.equal(pending.stored.get(1).code, "NGS");
});

test("a confirmation behind a label keeps that label", () => {
  const pending = withCells(1);
  pending.push(label("a", [1], "NGB"));
  pending.push(label("b", [1], null));
  assert.equal(pending.shown(1).code, "NGB");
});

test("a retracted decision leaves the cell undecided", () => {
  const pending = withCells(1);
  pending.push(label("a", [1], "NGB"));
  pending.retract("a");
  assert.equal(pending.shown(1).decided, false);
});

test("a batch carries what each cell was shown with, and no more than the server takes", () => {
  const pending = withCells(1, 2);
  pending.store([cell(2, { seen: 7 })]);
  for (let number = 0; number < 60; number += 1) pending.push(label(String(number), [1, 2], null));
  const batch = pending.batch();
  assert.equal(batch.length, MOST_AT_ONCE);
  assert.deepEqual(batch[0].cells, { 1: 0, 2: 7 });
  assert.equal("ids" in batch[0], false);
});

test("an answer ends the decisions that it names, the later ones are still shown", () => {
  const pending = withCells(1, 2);
  pending.push(label("a", [1], "NGB"));
  pending.push(label("b", [2], "MMZ"));
  const dropped = pending.settle([{ key: "a", state: "saved", sentence: "", cells: [1] }], [cell(1, { code: "NGB", decided: true, seen: 5 })]);
  assert.deepEqual(dropped, []);
  assert.deepEqual([pending.shown(1).seen, pending.shown(2).code, pending.acts.length], [5, "MMZ", 1]);
});

test("an undo that waits behind a refused decision is dropped: it would reverse another step", () => {
  const pending = withCells(1);
  pending.push(label("a", [1], "NGB"));
  pending.push({ key: "u", act: "undo", ids: [], code: null });
  const dropped = pending.settle([{ key: "a", state: "collided", sentence: "", cells: [1] }], [cell(1, { code: "MMZ", seen: 3 })]);
  assert.deepEqual(dropped, ["u"]);
  assert.equal(pending.shown(1).code, "MMZ");
  assert.equal(pending.acts.length, 0);
});
