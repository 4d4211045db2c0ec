// The small pure parts of the pages: letters to jump by, places on an image, sorting, keys, and files to send.
import assert from "node:assert/strict";
import { test } from "node:test";

import { barLength } from "../../static/js/boxes.js";
import { problemOf, size } from "../../static/js/files.js";
import { hintTexts } from "../../static/js/hints.js";
import { problemWith } from "../../static/js/keys.js";
import { boxAround, cellAt, lengthUm, sideAround, uncovered, zoomOnCell } from "../../static/js/places.js";
import { sorted } from "../../static/js/sorting.js";
import { TypeTable } from "../../static/js/typetable.js";
import { cell } from "./cells.mjs";

for (const number of [0, 1, 35, 36, 80, 600]) {
  test(`${number} pictures get ${number} texts, none of which begins with another one`, () => {
    const texts = hintTexts(number);
    assert.equal(new Set(texts).size, number);
    for (const text of texts) assert.ok(!texts.some((other) => other !== text && other.startsWith(text)));
  });
}

test("a nucleus in the box of an added cell is missed no longer, in a detected one or in no cell it is", () => {
  const image = { nuclei: [[10, 10, 20, 20]] };
  const box = [0, 0, 30, 30];
  assert.equal(uncovered(image, [cell(1, "NGS", { box })]).length, 1);
  assert.equal(uncovered(image, [cell(1, "NOT", { box, added: true })]).length, 1);
  assert.equal(uncovered(image, [cell(1, "NGS", { box, added: true })]).length, 0);
});

test("a box around a nucleus has its middle", () => {
  assert.deepEqual(boxAround([100, 100, 200, 140]), [65, 65, 235, 175]);
});

test("a large picture shows 60 µm, more around a large cell, and never more than the server cuts", () => {
  assert.equal(sideAround([0, 0, 50, 50], 0.2), 300);
  assert.equal(sideAround([0, 0, 200, 100], 0.2), 500);
  assert.equal(sideAround([0, 0, 50, 50], 0.01), 2048);
});

test("without a scale a large picture is 2.5 times as wide as its cell", () => {
  assert.equal(sideAround([0, 0, 80, 40], null), 200);
});

test("the chosen cell takes 60 % of its picture, and a picture is never made smaller than its place", () => {
  for (const [box, umPerPx] of [[[0, 0, 60, 40], 0.2], [[0, 0, 60, 60], 0.05], [[5, 5, 25, 30], null]]) {
    const side = sideAround(box, umPerPx);
    const part = (zoomOnCell(box, side) * Math.max(box[2] - box[0], box[3] - box[1])) / side;
    assert.ok(Math.abs(part - 0.6) < 1e-9, String(part));
  }
  assert.equal(zoomOnCell([0, 0, 2000, 10], 2048), 1);
});

test("a line is measured by the scale of its image", () => {
  assert.equal(lengthUm([10, 10, 40, 50], 0.2), 10);
});

test("of cells that overlap the one with the nearest middle is meant", () => {
  const cells = [cell(1, "NGS", { box: [0, 0, 100, 100] }), cell(2, "NGS", { box: [60, 60, 120, 120] })];
  assert.equal(cellAt(cells, 80, 80, 3)?.id, 2);
  assert.equal(cellAt(cells, 70, 65, 3)?.id, 1);
  assert.equal(cellAt(cells, 300, 300, 3), null);
});

test("cells of equal rank keep one order", () => {
  const cells = [cell(3), cell(1), cell(2, "NGS", { score: 0.4 })];
  assert.deepEqual(sorted(cells, "score", []).map(({ id }) => id), [1, 3, 2]);
  assert.deepEqual(sorted(cells, "doubt", []).map(({ id }) => id), [2, 1, 3]);
  assert.deepEqual(sorted(cells, "attention", [3]).map(({ id }) => id), [3, 2, 1]);
});

test("the scale bar is a round length of at least 50 pixels", () => {
  assert.equal(barLength(10), 5);
  assert.equal(barLength(3), 20);
  assert.equal(barLength(0.001), 1000);
});

test("a key is one letter or digit, free, and of one type", () => {
  assert.equal(problemWith({ NGS: "s", NGB: "b" }, { n: "next" }), "");
  assert.match(problemWith({ NGS: "" }, {}), /one letter or digit/);
  assert.match(problemWith({ NGS: "n" }, { n: "next" }), /needs N itself \(next\)/);
  assert.match(problemWith({ NGS: "s", NGB: "s" }, {}), /two types/);
});

test("a type that the page does not know is shown by its code", () => {
  const types = new TypeTable([{ code: "NGB", label: "Band neutrophil", short: "Band", color: "#16a34a", key: "b" }]);
  assert.equal(types.name("NGB"), "band neutrophil");
  assert.equal(types.ofKey("b"), "NGB");
  assert.equal(types.ofKey("z"), undefined);
  assert.equal(types.get("XYZ").short, "XYZ");
});

test("folders, empty and too large files are refused before they are sent", () => {
  assert.match(problemOf({ size: 4096 }, true, 10 ** 6), /folder/);
  assert.match(problemOf({ size: 0 }, false, 10 ** 6), /empty/);
  assert.match(problemOf({ size: 3 * 2 ** 20 }, false, 2 ** 20), /limit of 1.0 MiB/);
  assert.equal(problemOf({ size: 100 }, false, 10 ** 6), "");
});

test("sizes are printed in the unit that fits", () => {
  assert.deepEqual([5, 2048, 1.5 * 2 ** 20, 20 * 2 ** 20].map(size), ["5 bytes", "2 KiB", "1.5 MiB", "20 MiB"]);
});
