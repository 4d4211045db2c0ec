// Draws what was read of a whole slide above its field: blocks in layers, blocks left unread, and the parts that were read.
// It knows pixels of the screen; it knows no viewer.

/** @typedef {import("./types.js").Box} Box */
/** @typedef {import("./types.js").Coverage} Coverage */
/** @typedef {import("./boxes.js").Place} Place */

const DENSE = "rgba(190,60,40,.35)";
const UNREAD = "rgba(20,120,70,.9)";
const READ = "#1d4ed8";

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {Coverage} coverage
 * @param {(box: Box) => Place} place
 * @param {{ width: number, height: number }} screen
 */
export function drawMap(pen, coverage, place, screen) {
  const edge = coverage.block_px;
  coverage.kinds.forEach((row, y) => {
    for (let x = 0; x < row.length; x += 1) {
      if (row[x] === "s") continue;
      const at = place([x * edge, y * edge, (x + 1) * edge, (y + 1) * edge]);
      if (at.x > screen.width || at.y > screen.height || at.x + at.w < 0 || at.y + at.h < 0) continue;
      if (row[x] === "d") drawDense(pen, at);
      else drawUnread(pen, at);
    }
  });
  pen.setLineDash([]);
  pen.lineWidth = 2.5;
  pen.strokeStyle = READ;
  for (const box of coverage.read) {
    const { x, y, w, h } = place(box);
    pen.strokeRect(x + 1, y + 1, Math.max(w - 2, 1), Math.max(h - 2, 1));
  }
}

/** Filled, with one stroke through it. @param {CanvasRenderingContext2D} pen @param {Place} place */
function drawDense(pen, { x, y, w, h }) {
  pen.fillStyle = DENSE;
  pen.fillRect(x, y, w, h);
  pen.setLineDash([]);
  pen.lineWidth = 1;
  pen.strokeStyle = "rgba(120,30,20,.7)";
  pen.beginPath();
  pen.moveTo(x, y + h);
  pen.lineTo(x + w, y);
  pen.stroke();
}

/** @param {CanvasRenderingContext2D} pen @param {Place} place */
function drawUnread(pen, { x, y, w, h }) {
  pen.setLineDash([4, 4]);
  pen.lineWidth = 1.5;
  pen.strokeStyle = UNREAD;
  pen.strokeRect(x + 3, y + 3, Math.max(w - 6, 1), Math.max(h - 6, 1));
}
