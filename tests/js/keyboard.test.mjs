// How single keys and the burst of a barcode scanner are told apart.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Burst, nameOf, SCAN_GAP_MS } from "../../static/js/keyboard.js";

function type(burst, text, gap, from = 1000) {
  return [...text].map((key, index) => burst.take(key, from + index * gap));
}

test("a person's keys are single ones", () => {
  assert.deepEqual(type(new Burst(), "lsb", 180), ["single", "single", "single"]);
});

for (const gap of [1, 8, 40]) {
  for (const last of ["Enter", "Tab"]) {
    test(`a scan with ${gap} ms between its characters ends with ${last} and gives its text`, () => {
      const burst = new Burst();
      const text = "LAB-24-00817X";
      const kinds = type(burst, text, gap);
      assert.equal(kinds[0], "single"); // retracted when the second one comes
      assert.ok(kinds.slice(1).every((kind) => kind === "burst"));
      assert.equal(burst.take(last, 1000 + text.length * gap), "end");
      assert.equal(burst.scanned(), text);
    });
  }
}

test("Shift before a capital belongs to the scan", () => {
  const burst = new Burst();
  burst.take("Shift", 1000);
  burst.take("L", 1002);
  burst.take("Shift", 1010);
  burst.take("A", 1012);
  burst.take("1", 1020);
  assert.equal(burst.take("Enter", 1028), "end");
  assert.equal(burst.scanned(), "LA1");
});

test("Enter after a pause confirms, and two quick keys are no scan but no decision either", () => {
  const burst = new Burst();
  assert.deepEqual([burst.take("l", 0), burst.take("Enter", SCAN_GAP_MS + 200)], ["single", "single"]);
  assert.deepEqual([burst.take("l", 1000), burst.take("s", 1010), burst.take("Enter", 1020)], ["single", "burst", "end"]);
  assert.equal(burst.scanned(), "");
});

test("keys are named without regard to the layout of capitals and signs", () => {
  const names = [["n", false], ["N", true], ["?", true], ["Enter", true], ["ArrowLeft", false], ["[", false]];
  assert.deepEqual(names.map(([key, shiftKey]) => nameOf({ key, shiftKey })), ["n", "Shift+n", "?", "Shift+Enter", "ArrowLeft", "["]);
});

test("Ctrl and Command name one shortcut, with and without Shift", () => {
  assert.equal(nameOf({ key: "z", shiftKey: false, ctrlKey: true }), "Ctrl+z");
  assert.equal(nameOf({ key: "Z", shiftKey: true, metaKey: true }), "Ctrl+Shift+z");
  assert.equal(nameOf({ key: "?", shiftKey: true }), "?");
  assert.equal(nameOf({ key: "Enter", shiftKey: true }), "Shift+Enter");
});
