// What the mouse does in the gallery: choose by click and by a frame, drag cells onto a type.

import { around, make } from "./page.js";
import { interpolate, ngettext } from "./words.js";

/** @typedef {import("./gallery.js").Gallery} Gallery */

const CELLS = "application/x-cells";

/** @param {Gallery} gallery */
export function listenToMouse(gallery) {
  gallery.root.addEventListener("click", (event) => {
    const tile = around(event, ".tile");
    if (tile) gallery.pick(Number(tile.dataset.id), event);
  });
  gallery.root.addEventListener("pointerdown", (event) => startFrame(gallery, event));
  gallery.root.addEventListener("dragstart", (event) => startDrag(gallery, event));
}

/**
 * Let cells be dropped on an element: the gallery says which, and the type that the element stands for.
 * @param {Gallery} gallery
 * @param {HTMLElement} element
 * @param {string} code
 */
export function acceptDrops(gallery, element, code) {
  element.addEventListener("dragover", (event) => {
    if (!event.dataTransfer?.types.includes(CELLS)) return;
    event.preventDefault();
    element.classList.add("is-target");
  });
  element.addEventListener("dragleave", (event) => {
    if (!element.contains(/** @type {Node | null} */ (event.relatedTarget))) element.classList.remove("is-target");
  });
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    element.classList.remove("is-target");
    const ids = JSON.parse(event.dataTransfer?.getData(CELLS) || "[]");
    if (ids.length) gallery.say("dropped", { ids, code });
  });
}

/**
 * @param {Gallery} gallery
 * @param {DragEvent} event
 */
function startDrag(gallery, event) {
  const tile = around(event, ".tile");
  if (!tile || !event.dataTransfer) return;
  const id = Number(tile.dataset.id);
  if (!gallery.desk.selected.has(id)) gallery.desk.select([id]);
  const ids = [...gallery.desk.selected];
  event.dataTransfer.effectAllowed = "move";
  event.dataTransfer.setData(CELLS, JSON.stringify(ids));
  const ghost = make("div", { className: "drag-ghost" }, interpolate(ngettext("%(count)s cell", "%(count)s cells", ids.length), { count: ids.length }));
  document.body.append(ghost);
  event.dataTransfer.setDragImage(ghost, 12, 12);
  setTimeout(() => ghost.remove());
}

/**
 * @param {Gallery} gallery
 * @param {PointerEvent} event
 */
function startFrame(gallery, event) {
  const { root, desk } = gallery;
  if (event.button !== 0 || around(event, ".tile, button, select, input")) return;
  if (event.pointerType === "touch" || event.offsetX > root.clientWidth) return; // scrolling, or the scroll bar
  const start = placeIn(root, event);
  const frame = make("div", { className: "choosing-frame" });
  const kept = event.shiftKey || event.ctrlKey ? [...desk.selected] : [];
  let isMoving = false;

  /** @param {PointerEvent} moved */
  function move(moved) {
    const end = placeIn(root, moved);
    if (!isMoving && Math.hypot(end.x - start.x, end.y - start.y) < 5) return;
    if (!isMoving) {
      isMoving = true;
      root.append(frame);
      root.setPointerCapture(event.pointerId);
    }
    moved.preventDefault();
    const [x, y] = [Math.min(start.x, end.x), Math.min(start.y, end.y)];
    const [w, h] = [Math.abs(end.x - start.x), Math.abs(end.y - start.y)];
    Object.assign(frame.style, { left: `${x}px`, top: `${y}px`, width: `${w}px`, height: `${h}px` });
  }

  function end() {
    root.removeEventListener("pointermove", move);
    if (!isMoving) return;
    const drawn = frame.getBoundingClientRect();
    frame.remove();
    const inside = [...gallery.near.tiles].filter((tile) => {
      const box = tile.getBoundingClientRect();
      return box.left < drawn.right && box.right > drawn.left && box.top < drawn.bottom && box.bottom > drawn.top;
    });
    desk.select([...new Set([...kept, ...inside.map((tile) => Number(tile.dataset.id))])]);
  }

  root.addEventListener("pointermove", move);
  root.addEventListener("pointerup", end, { once: true });
}

/**
 * @param {HTMLElement} root
 * @param {MouseEvent} event
 */
function placeIn(root, event) {
  const frame = root.getBoundingClientRect();
  return { x: event.clientX - frame.left + root.scrollLeft, y: event.clientY - frame.top + root.scrollTop };
}
