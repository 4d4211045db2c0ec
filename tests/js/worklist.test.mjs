// How the worklist follows the server without losing its rows.
import assert from "node:assert/strict";
import { test } from "node:test";

import { difference, newKeys } from "../../static/js/worklist_live.js";

const row = (id, version = "1") => ({ id, version });

test("a row that changed and one that came are exchanged, others stay", () => {
  assert.deepEqual(difference([row("a"), row("b")], [row("c"), row("b", "2"), row("a")]), { fresh: ["c", "b"], gone: [] });
});

test("a row that left is gone, and another order alone changes nothing", () => {
  assert.deepEqual(difference([row("a"), row("b"), row("c")], [row("c"), row("a")]), { fresh: [], gone: ["b"] });
});

test("only cases that were not pressing before are new", () => {
  assert.deepEqual(newKeys("", ""), []);
  assert.deepEqual(newKeys("", "4,7"), ["4", "7"]);
  assert.deepEqual(newKeys("4,7", "7,9"), ["9"]);
});
