// Draws boxes of cells, rings of nuclei, a draft and the scale bar on the canvas above a field.
// It knows pixels of the screen; it knows no viewer and no decision.

import { gettext } from "./words.js";

/** @typedef {import("./types.js").Cell} Cell */
/** @typedef {import("./types.js").CellType} CellType */
/** @typedef {{ x: number, y: number, w: number, h: number }} Place on the screen */

const NUCLEUS = "#b8860b";
const SHOWN = "#ffd54a";
const DARK = "#1c1a20";
const LIGHT = "rgba(255,255,255,.85)";
const BARS_UM = [5, 10, 20, 50, 100, 200, 500, 1000];
const LEAST_NAMED_PX = 9; // a narrower box carries no name

/** @type {Record<string, string>} of red cells and platelets, which are no types of a differential */
export const ELEMENT_COLORS = { PLT: "#d946ef", RBC: "#0d9488" };

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {string} code
 * @param {Place} place
 */
export function drawElement(pen, code, { x, y, w, h }) {
  pen.setLineDash([]);
  pen.lineWidth = code === "PLT" ? 2 : 1;
  pen.strokeStyle = ELEMENT_COLORS[code];
  pen.strokeRect(x, y, w, h);
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {Cell} cell
 * @param {CellType} type
 * @param {Place} place
 * @param {boolean} isSelected
 */
export function drawBox(pen, cell, type, { x, y, w, h }, isSelected) {
  const color = type.color;
  const out = isSelected ? 2 : 0;
  if (isSelected) {
    pen.lineWidth = 6;
    pen.strokeStyle = "#fff";
    pen.setLineDash([]);
    pen.strokeRect(x - out, y - out, w + 2 * out, h + 2 * out);
  }
  pen.lineWidth = isSelected ? 3.5 : 2;
  pen.setLineDash(cell.look.length && !isSelected ? [5, 3] : []);
  pen.strokeStyle = color;
  pen.strokeRect(x - out, y - out, w + 2 * out, h + 2 * out);
  pen.setLineDash([]);
  if (w < LEAST_NAMED_PX && !isSelected) return;
  const size = isSelected ? 13 : w < 26 ? 9 : 11;
  pen.font = `600 ${size}px system-ui, sans-serif`;
  const text = cell.decided ? `${type.short} ✓` : type.short;
  const high = size + 4;
  const below = y - high < 0 ? y + h : y - high;
  pen.fillStyle = color;
  pen.fillRect(x - 1, below, pen.measureText(text).width + 6, high);
  pen.fillStyle = "#fff";
  pen.textBaseline = "middle";
  pen.fillText(text, x + 2, below + high / 2 + 0.5);
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {Place} place
 * @param {boolean} isShown the one that the reader is led to
 */
export function drawNucleus(pen, { x, y, w, h }, isShown) {
  pen.setLineDash(isShown ? [] : [4, 4]);
  pen.lineWidth = isShown ? 3 : 1.5;
  pen.strokeStyle = isShown ? SHOWN : NUCLEUS;
  pen.beginPath();
  pen.ellipse(x + w / 2, y + h / 2, w * 0.75 + 3, h * 0.75 + 3, 0, 0, 2 * Math.PI);
  pen.stroke();
  pen.setLineDash([]);
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {Place} place
 */
export function drawDraft(pen, { x, y, w, h }) {
  for (const [width, color] of /** @type {[number, string][]} */ ([[4, "#000"], [2, SHOWN]])) {
    pen.lineWidth = width;
    pen.strokeStyle = color;
    pen.strokeRect(x, y, w, h);
  }
}

/**
 * A measured length with its figure.
 * @param {CanvasRenderingContext2D} pen
 * @param {Place} place from x, y by w, h
 * @param {string} text
 */
export function drawRuler(pen, { x, y, w, h }, text) {
  for (const [width, color] of /** @type {[number, string][]} */ ([[5, DARK], [2, SHOWN]])) {
    pen.lineWidth = width;
    pen.strokeStyle = color;
    pen.beginPath();
    pen.moveTo(x, y);
    pen.lineTo(x + w, y + h);
    pen.stroke();
  }
  pen.font = "600 13px system-ui, sans-serif";
  pen.textBaseline = "middle";
  const [left, top] = [x + w + 8, y + h - 10];
  pen.fillStyle = LIGHT;
  pen.fillRect(left, top, pen.measureText(text).width + 10, 20);
  pen.fillStyle = DARK;
  pen.fillText(text, left + 5, top + 10);
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {number | null} pxPerUm pixels of the screen; null: the scale is unknown
 * @param {number} height of the canvas
 */
export function drawScaleBar(pen, pxPerUm, height) {
  pen.font = "600 12px system-ui, sans-serif";
  if (!pxPerUm) {
    const text = gettext("scale unknown");
    pen.fillStyle = LIGHT;
    pen.fillRect(8, height - 28, pen.measureText(text).width + 12, 20);
    pen.fillStyle = DARK;
    pen.textBaseline = "middle";
    pen.fillText(text, 14, height - 18);
    return;
  }
  const um = barLength(pxPerUm);
  pen.fillStyle = LIGHT;
  pen.fillRect(8, height - 30, um * pxPerUm + 12, 22);
  pen.fillStyle = DARK;
  pen.fillRect(14, height - 14, um * pxPerUm, 3);
  pen.textBaseline = "alphabetic";
  pen.fillText(`${um} µm`, 14, height - 17);
}

/**
 * The length of a scale bar in µm: the shortest round one of at least 50 pixels. Pure.
 * @param {number} pxPerUm
 */
export function barLength(pxPerUm) {
  return BARS_UM.find((um) => um * pxPerUm >= 50) ?? /** @type {number} */ (BARS_UM.at(-1));
}
