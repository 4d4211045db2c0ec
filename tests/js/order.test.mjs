// The order in which single cells are shown, while decisions are made and undone.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Order } from "../../static/js/order.js";

function orderOf(ids, decided = []) {
  const order = new Order();
  order.set(ids, (id) => !decided.includes(id));
  return order;
}

test("the next cell is the next open one, and after the last one the first", () => {
  const order = orderOf([5, 3, 8, 1], [3]);
  assert.equal(order.beside(5, 1), 8);
  assert.equal(order.beside(1, 1), 5);
  assert.equal(order.beside(5, -1), 1);
});

test("from outside of the list one begins at its end", () => {
  const order = orderOf([5, 3, 8]);
  assert.equal(order.beside(null, 1), 5);
  assert.equal(order.beside(99, -1), 8);
});

test("a decided cell drops out and comes back when it is undone", () => {
  const order = orderOf([5, 3, 8]);
  order.mark(3, false);
  assert.equal(order.beside(5, 1), 8);
  assert.equal(order.count, 2);
  order.mark(3, true);
  assert.equal(order.beside(5, 1), 3);
  order.mark(99, true); // not one of them
  assert.equal(order.count, 3);
});

test("where none is open there is no next one", () => {
  assert.equal(orderOf([5, 3], [5, 3]).beside(5, 1), undefined);
  assert.equal(orderOf([]).beside(null, -1), undefined);
});

test("the cells to come are those after the chosen one, without going round", () => {
  const order = orderOf([5, 3, 8, 1], [3]);
  assert.deepEqual(order.after(5, 3), [8, 1]);
  assert.deepEqual(order.after(null, 2), [5, 8]);
  assert.deepEqual(order.after(1, 3), []);
});
