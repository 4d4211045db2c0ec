// The case page: draws the differential as bars with their intervals, and copies the table; it computes no figure.
import { copyFrom } from "./copy.js";
import { readJson } from "./page.js";
import { decimal } from "./words.js";

/** @typedef {{ code: string, name: string, percent: number, low: number | null, high: number | null, color: string }} Bar */

/** @type {any} of Chart.js */
let chart;

/**
 * The end of the axis: the next ten above the highest interval, 100 at most. Pure.
 * @param {Bar[]} bars
 */
function axisEnd(bars) {
  return Math.min(100, Math.ceil(Math.max(...bars.map((bar) => bar.high ?? bar.percent)) / 10) * 10);
}

/** @param {Bar} bar */
function words({ percent, low, high }) {
  return low === null || high === null ? `${decimal(percent)}%` : `${decimal(percent)}% (${decimal(low, 1)} – ${decimal(high, 1)})`;
}

const whiskers = {
  id: "whiskers",
  /**
   * @param {any} drawn
   * @param {unknown} _args
   * @param {{ color: string, bars: Bar[] }} options
   */
  afterDatasetsDraw({ ctx, scales: { x }, data }, _args, { color, bars }) {
    ctx.save();
    ctx.strokeStyle = color;
    ctx.lineWidth = 1.5;
    const meta = chart?.getDatasetMeta(0) ?? { data: [] };
    meta.data.forEach((/** @type {{ y: number }} */ bar, /** @type {number} */ i) => {
      if (i >= data.labels.length || bars[i].low === null) return;
      const [from, to] = [x.getPixelForValue(bars[i].low), x.getPixelForValue(bars[i].high)];
      ctx.beginPath();
      ctx.moveTo(from, bar.y);
      ctx.lineTo(to, bar.y);
      [from, to].forEach((end) => {
        ctx.moveTo(end, bar.y - 4);
        ctx.lineTo(end, bar.y + 4);
      });
      ctx.stroke();
    });
    ctx.restore();
  },
};

/**
 * What Chart.js is asked for.
 * @param {Bar[]} bars
 * @param {string} text
 * @param {string} line
 */
function chartOf(bars, text, line) {
  return {
    type: "bar",
    data: {
      labels: bars.map((bar) => bar.name),
      datasets: [{ data: bars.map((bar) => bar.percent), backgroundColor: bars.map((bar) => bar.color), barPercentage: 0.7 }],
    },
    options: {
      animation: false,
      indexAxis: "y",
      maintainAspectRatio: false,
      scales: {
        x: { min: 0, max: axisEnd(bars), ticks: { color: text, callback: (/** @type {number} */ value) => `${value}%` }, grid: { color: line } },
        y: { ticks: { color: text, autoSkip: false }, grid: { display: false } },
      },
      plugins: {
        legend: { display: false },
        whiskers: { color: text, bars },
        tooltip: { callbacks: { label: (/** @type {{ dataIndex: number }} */ item) => words(bars[item.dataIndex]) } },
      },
    },
    plugins: [whiskers],
  };
}

function draw() {
  // No id: htmx would carry the style attribute of the old canvas over, which the CSP refuses.
  const canvas = /** @type {HTMLCanvasElement | null} */ (document.querySelector("canvas[data-chart]"));
  chart?.destroy();
  chart = undefined;
  if (!canvas?.parentElement) return;
  /** @type {Bar[]} */
  const bars = readJson("chart-bars");
  const style = getComputedStyle(document.body);
  canvas.parentElement.style.height = `${Math.max(9, 2.6 + bars.length * 1.9)}rem`;
  chart = new Chart(canvas, chartOf(bars, style.getPropertyValue("--bs-body-color"), style.getPropertyValue("--bs-border-color")));
  chart.update();
}

draw();
copyFrom("clipboard");
document.body.addEventListener("htmx:afterSwap", draw);
new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });
