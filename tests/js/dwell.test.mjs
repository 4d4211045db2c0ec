// What counts as seen: a loaded picture, in the window, long enough (S10).
import assert from "node:assert/strict";
import { test } from "node:test";

import { Dwell } from "../../static/js/dwell.js";

const tile = {};

test("a picture that was loaded off the screen was not seen, however long ago", () => {
  const dwell = new Dwell();
  dwell.load(tile, 0);
  assert.equal(dwell.longest(tile, 60_000), 0);
});

test("a place in view without its picture was not seen either", () => {
  const dwell = new Dwell();
  dwell.enter(tile, 0);
  assert.equal(dwell.longest(tile, 60_000), 0);
  dwell.load(tile, 60_000);
  assert.equal(dwell.now(tile, 60_400), 400);
});

test("time counts from the later of coming into view and being loaded", () => {
  const dwell = new Dwell();
  dwell.load(tile, 100);
  dwell.enter(tile, 500);
  dwell.enter(tile, 900); // it was there already
  assert.equal(dwell.now(tile, 1100), 600);
});

test("glances do not add up, and the longest of them is kept", () => {
  const dwell = new Dwell();
  dwell.load(tile, 0);
  for (const [from, to] of [[0, 100], [1000, 1120], [2000, 2050]]) {
    dwell.enter(tile, from);
    dwell.leave(tile, to);
  }
  assert.deepEqual([dwell.now(tile, 9000), dwell.longest(tile, 9000)], [0, 120]);
});
